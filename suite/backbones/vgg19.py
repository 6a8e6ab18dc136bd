"""VGG19 (Simonyan and Zisserman 2015, configuration E)."""

from __future__ import annotations

from suite.backbones import _vgg
from suite.layers.model import Backbone

SETTINGS = _vgg.SETTINGS


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    stem: str = "auto",
    width: float = 1.0,
    batch_norm: bool = False,
    dropout: float = 0.5,
) -> Backbone:
    """143,667,240 parameters with the imagenet stem, 3 channels and 1000 classes; 143,678,248 with batch norm.

    The small stem zero-pads images to multiples of 32, so that all five pools halve exactly.

    Raises:
        UserError: an image side is below 16 pixels, or below 32 with the imagenet stem.
    """
    return _vgg.build("vgg19", "E", shape, classes, stem=stem, width=width, batch_norm=batch_norm, dropout=dropout)
