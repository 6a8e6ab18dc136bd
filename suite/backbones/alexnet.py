"""AlexNet: torchvision's one-tower version (Krizhevsky 2014) with the LRN of Krizhevsky et al. 2012."""

from __future__ import annotations

from torch import nn

from suite.backbones._lrn import response_norm
from suite.backbones._sizes import require_size
from suite.core.settings import Setting
from suite.layers.model import Backbone, ConvUnit, Stage

SETTINGS = {
    "dropout": Setting(0.5, "dropout before each hidden dense layer", low=0.0, high=0.95),
}

LEAST = 63


def build(shape: tuple[int, int, int], classes: int, *, dropout: float = 0.5) -> Backbone:
    """61,100,840 parameters with 3 channels and 1000 classes.

    Response normalisation follows the first two ReLUs; without it (variant `no_lrn`) this is torchvision's network.

    Raises:
        UserError: an image side is below 63 pixels.
    """
    require_size("alexnet", shape, LEAST)
    first = nn.Conv2d(shape[0], 64, 11, stride=4, padding=2)
    second = ConvUnit(nn.Conv2d(64, 192, 5, padding=2))
    rest = [ConvUnit(nn.Conv2d(a, b, 3, padding=1)) for a, b in ((192, 384), (384, 256), (256, 256))]
    stages = [
        Stage(nn.Sequential(), first, in_channels=shape[0], out_channels=64, stride=4),
        Stage(nn.Sequential(nn.ReLU(), response_norm()), _make_pool(), in_channels=64, out_channels=64),
        Stage(nn.Sequential(second, response_norm()), _make_pool(), in_channels=64, out_channels=192),
        Stage(nn.Sequential(*rest), _make_pool(), in_channels=192, out_channels=256),
    ]
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(6),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(256 * 6 * 6, 4096),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, classes),
    )
    return Backbone(stages, head)


def _make_pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2)  # overlapping
