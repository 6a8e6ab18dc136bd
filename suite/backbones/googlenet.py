"""GoogLeNet (Szegedy et al. 2015, Table 1) of torchvision's Inception block, with its two auxiliary classifiers."""

from __future__ import annotations

from functools import partial

from torch import nn
from torchvision.models.googlenet import Inception

from suite.backbones._inception import initialise_weights, make_unit
from suite.backbones._sizes import STEM, WIDTH, require_size, scale_channels, takes_small_stem
from suite.core.settings import Setting
from suite.layers.model import Auxiliary, Backbone, Stage

SETTINGS = {
    "stem": STEM,
    "width": WIDTH,
    "aux_weight": Setting(0.3, "weight of each auxiliary classifier's cross-entropy", low=0.0, high=10.0),
}

# Input channels, then: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


def build(
    shape: tuple[int, int, int], classes: int, *, stem: str = "auto", width: float = 1.0, aux_weight: float = 0.3
) -> Backbone:
    """13,004,888 parameters with the imagenet stem, 3 channels and 1000 classes, of which 6,379,984 are auxiliary.

    As in torchvision, batch norm follows each convolution, and the 5x5 convolutions are 3x3.

    Raises:
        UserError: an image side is below 8 pixels, or below 31 with the imagenet stem.
    """
    small = takes_small_stem(stem, shape)
    require_size("googlenet", shape, 8 if small else 31)
    to = partial(scale_channels, width=width)
    blocks, outs = _make_inception_blocks(width)
    stages = [] if small else [_imagenet_stem(shape[0], to(64))]
    into = shape[0] if small else to(64)
    first = [make_unit(shape[0], to(64), kernel_size=3, padding=1)] if small else []
    bodies: list[tuple[list[nn.Module], int, nn.Module]] = [
        (
            [*first, make_unit(to(64), to(64), kernel_size=1), make_unit(to(64), to(192), kernel_size=3, padding=1)],
            to(192),
            _make_pool(3),
        ),
        ([blocks["3a"], blocks["3b"]], outs["3b"], _make_pool(3)),
        (
            [
                blocks["4a"],
                Auxiliary(_make_auxiliary(outs["4a"], classes, width), aux_weight),
                blocks["4b"],
                blocks["4c"],
                blocks["4d"],
                Auxiliary(_make_auxiliary(outs["4d"], classes, width), aux_weight),
                blocks["4e"],
            ],
            outs["4e"],
            _make_pool(2),
        ),
    ]
    for body, out, pool in bodies:
        stages.append(Stage(nn.Sequential(*body), pool, in_channels=into, out_channels=out))
        into = out
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(outs["5b"], classes))
    backbone = Backbone(stages, head, nn.Sequential(blocks["5a"], blocks["5b"]))
    initialise_weights(backbone, std=0.01)
    return backbone


def _imagenet_stem(channels: int, out: int) -> Stage:
    """The first max-pool's stage; the paper counts pools as its downsampling steps, four in all (docs/papers.md)."""
    downsample = nn.Sequential(make_unit(channels, out, kernel_size=7, stride=2, padding=3), _make_pool(3))
    return Stage(nn.Sequential(), downsample, in_channels=channels, out_channels=out, stride=4)


def _make_pool(side: int) -> nn.Module:
    return nn.MaxPool2d(side, stride=2, ceil_mode=True)


def _make_inception_blocks(width: float) -> tuple[dict[str, nn.Module], dict[str, int]]:
    """The Inception blocks by name, and their output channels."""
    blocks: dict[str, nn.Module] = {}
    outs: dict[str, int] = {}
    into = scale_channels(192, width)
    for name, (_, *branches) in INCEPTIONS.items():
        ones, reduce3, threes, reduce5, fives, pooled = (scale_channels(full, width) for full in branches)
        blocks[name] = Inception(into, ones, reduce3, threes, reduce5, fives, pooled, conv_block=make_unit)
        into = outs[name] = ones + threes + fives + pooled
    return blocks, outs


def _make_auxiliary(channels: int, classes: int, width: float) -> nn.Sequential:
    """torchvision's InceptionAux, with its functional ReLU as a module and its widths free."""
    reduced, hidden = scale_channels(128, width), scale_channels(1024, width)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4),
        make_unit(channels, reduced, kernel_size=1),
        nn.Flatten(),
        nn.Linear(reduced * 16, hidden),
        nn.ReLU(),
        nn.Dropout(0.7),
        nn.Linear(hidden, classes),
    )
