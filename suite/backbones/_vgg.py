"""VGG (Simonyan and Zisserman 2015) as torchvision builds and initialises it, cut at its five max-pools."""

from __future__ import annotations

from torch import nn
from torchvision.models.vgg import cfgs

from suite.backbones._sizes import STEM, WIDTH, PaddedBackbone, require_size, scale_channels, takes_small_stem
from suite.core.settings import Setting
from suite.layers.model import Backbone, ConvUnit, Stage

SETTINGS = {
    "stem": Setting(
        "auto",
        "imagenet: dense layers on a 7 x 7 map; small: on the mean of the last map, which is 1 x 1 at 32 px; "
        "auto: small below 64 px",
        choices=STEM.choices,
    ),
    "width": WIDTH,
    "batch_norm": Setting(False, "batch normalisation after every convolution"),
    "dropout": Setting(0.5, "dropout after each hidden dense layer", low=0.0, high=0.95),
}

DENSE = 4096
POOLS = 5
LEAST_SMALL = 2 ** (POOLS - 1)  # below, padding to 32 pixels would more than double the side


def build(
    name: str,
    configuration: str,
    shape: tuple[int, int, int],
    classes: int,
    *,
    stem: str,
    width: float,
    batch_norm: bool,
    dropout: float,
) -> Backbone:
    """Configuration D or E of the paper's Table 1.

    Raises:
        UserError: an image side is below 16 pixels, or below 32 with the imagenet stem, which pads nothing.
    """
    small = takes_small_stem(stem, shape)
    require_size(name, shape, LEAST_SMALL if small else 2**POOLS)
    stages = _make_stages(configuration, shape[0], width, batch_norm)
    side = 1 if small else 7
    head = _make_head(stages[-1].out_channels, side, scale_channels(DENSE, width), classes, dropout)
    backbone = PaddedBackbone(stages, head, multiple=2**POOLS) if small else Backbone(stages, head)
    _initialise_weights(backbone)
    return backbone


def _make_stages(configuration: str, channels: int, width: float, batch_norm: bool) -> list[Stage]:
    stages: list[Stage] = []
    units: list[ConvUnit] = []
    into = out = channels
    for step in cfgs[configuration]:
        if step == "M":
            stages.append(Stage(nn.Sequential(*units), nn.MaxPool2d(2), in_channels=into, out_channels=out))
            into, units = out, []
        else:
            conv = nn.Conv2d(out, scale_channels(step, width), 3, padding=1)
            out = conv.out_channels
            units.append(ConvUnit(conv, nn.BatchNorm2d(out) if batch_norm else None))
    return stages


def _make_head(channels: int, side: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(side),
        nn.Flatten(),
        nn.Linear(channels * side**2, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, classes),
    )


def _initialise_weights(backbone: Backbone) -> None:
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
