"""The small CNN for CIFAR-10 (Murgolo's report, section 2.1; docs/papers.md, section 4)."""

from __future__ import annotations

from torch import nn

from suite.backbones._sizes import WIDTH, require_size, scale_channels
from suite.core.settings import Setting
from suite.layers.model import Backbone, ConvUnit, Stage

SETTINGS = {
    "width": WIDTH,
    "batch_norm": Setting(False, "one batch normalisation, after the first convolution and before its ReLU"),
    "dropout": Setting(0.0, "dropout before the last dense layer; the improved network has 0.2", low=0.0, high=0.95),
}

WIDTHS = (32, 32, 64)
DENSE = 64
LEAST = 15


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
    batch_norm: bool = False,
    dropout: float = 0.0,
) -> Backbone:
    """116,906 parameters at 3 x 32 x 32 and 10 classes, 116,970 with batch norm.

    Raises:
        UserError: an image side is below 15 pixels.
    """
    require_size("cifar_cnn", shape, LEAST)
    channels, *sides = shape
    stages = []
    for i, full in enumerate(WIDTHS):
        out = scale_channels(full, width)
        norm = nn.BatchNorm2d(out) if batch_norm and i == 0 else None
        body = nn.Sequential(ConvUnit(nn.Conv2d(channels, out, 5, padding=2), norm))
        stages.append(Stage(body, nn.MaxPool2d(3, stride=2), in_channels=channels, out_channels=out))
        channels, sides = out, [(side - 3) // 2 + 1 for side in sides]
    hidden = scale_channels(DENSE, width)
    head = nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * sides[0] * sides[1], hidden),
        nn.ReLU(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(hidden, classes),
    )
    return Backbone(stages, head)
