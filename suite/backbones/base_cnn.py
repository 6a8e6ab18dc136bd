"""The base CNN of SIRe: four blocks of two convolutions and three dense layers (Avola et al. 2022, section 3.1)."""

from __future__ import annotations

from torch import nn

from suite.backbones._sizes import WIDTH, PaddedBackbone, require_size, scale_channels
from suite.core.settings import Setting
from suite.layers.model import ConvUnit, Stage

SETTINGS = {
    "width": WIDTH,
    "dropout": Setting(0.5, "dropout after each hidden dense layer (the paper gives none)", low=0.0, high=0.95),
}

WIDTHS = (64, 128, 256, 512)
DENSE = 1024
MULTIPLE = 2 ** len(WIDTHS)  # every pool halves a map of even size


def build(shape: tuple[int, int, int], classes: int, *, width: float = 1.0, dropout: float = 0.5) -> PaddedBackbone:
    """7,939,492 parameters at width 1 with 3 channels and 100 classes (Avola et al. 2022, Table 3: 7.9M).

    Images are zero-padded to the next multiple of 16, so that all four pools halve exactly (28 px -> 32 px).

    Raises:
        UserError: an image side is below 16 pixels.
    """
    require_size("base_cnn", shape, MULTIPLE)
    channels = shape[0]
    stages = []
    for full in WIDTHS:
        out = scale_channels(full, width)
        body = nn.Sequential(_make_unit(channels, out), _make_unit(out, out))
        stages.append(Stage(body, nn.MaxPool2d(2), in_channels=channels, out_channels=out))
        channels = out
    return PaddedBackbone(
        stages, _make_head(channels, scale_channels(DENSE, width), classes, dropout), multiple=MULTIPLE
    )


def _make_head(channels: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    # The 2 x 2 pool gives one parameter count at every image size, as the paper reports it (docs/papers.md, section 1).
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(channels * 4, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, classes),
    )


def _make_unit(channels: int, out: int) -> ConvUnit:
    return ConvUnit(nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out))
