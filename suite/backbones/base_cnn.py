"""The base CNN that the SIRe paper extends: four blocks of two convolutions, three dense layers (sire.md, Fig. 1)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from suite.layers.model import Backbone, ConvUnit, Stage
from suite.settings import Refused, Setting

SETTINGS = {
    "width": Setting(1.0, "factor on every convolution's and hidden dense layer's width", low=1 / 64, high=16.0),
    "dropout": Setting(0.5, "dropout after each hidden dense layer (the paper gives none)", low=0.0, high=0.95),
}

WIDTHS = (64, 128, 256, 512)
DENSE = 1024
MULTIPLE = 2 ** len(WIDTHS)  # every pool halves a map of even size


class BaseCNN(Backbone):
    """Images are zero-padded to the next multiple of 16, so that all four pools halve exactly (28 px -> 32 px)."""

    def prepare(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same with both sides padded up to multiples of 16."""
        top, bottom = _padding(images.shape[-2])
        left, right = _padding(images.shape[-1])
        return functional.pad(images, (left, right, top, bottom)) if top + bottom + left + right else images


def build(shape: tuple[int, int, int], classes: int, *, width: float = 1.0, dropout: float = 0.5) -> BaseCNN:
    """7,939,492 parameters at width 1 with 3 channels and 100 classes (sire.md, Table 3: 7.9M).

    Raises:
        Refused: an image side is below 16 pixels.
    """
    channels, height, image_width = shape
    if min(height, image_width) < MULTIPLE:
        raise Refused(
            f"base_cnn: halves its map four times and needs images of at least {MULTIPLE} x {MULTIPLE} pixels, "
            f"not {height} x {image_width}; choose a larger image size"
        )
    stages = []
    for full in WIDTHS:
        out = _scaled(full, width)
        body = nn.Sequential(_unit(channels, out), _unit(out, out))
        stages.append(Stage(body, nn.MaxPool2d(2), in_channels=channels, out_channels=out))
        channels = out
    return BaseCNN(stages, _head(channels, _scaled(DENSE, width), classes, dropout))


def _head(channels: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    # The 2 x 2 pool gives one parameter count at every image size, as the paper reports it (methods.md, section 1).
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


def _unit(channels: int, out: int) -> ConvUnit:
    return ConvUnit(nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out))


def _scaled(full: int, width: float) -> int:
    return max(1, round(full * width))


def _padding(size: int) -> tuple[int, int]:
    """Zeros before and after; an odd one goes after."""
    missing = -size % MULTIPLE
    return missing // 2, missing - missing // 2
