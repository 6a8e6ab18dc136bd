"""ResNet-50 (He et al. 2016a, Table 1)."""

from __future__ import annotations

from torchvision.models.resnet import Bottleneck

from suite.backbones import _resnet
from suite.layers.model import Backbone

SETTINGS = _resnet.SETTINGS


def build(shape: tuple[int, int, int], classes: int, *, stem: str = "auto", width: float = 1.0) -> Backbone:
    """25,557,032 parameters with the imagenet stem, 3 channels and 1000 classes.

    Raises:
        UserError: an image side is below 5 pixels, or below 17 with the imagenet stem.
    """
    return _resnet.build("resnet50", Bottleneck, (3, 4, 6, 3), shape, classes, stem=stem, width=width)
