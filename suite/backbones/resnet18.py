"""ResNet-18 (He et al. 2016a, Table 1)."""

from __future__ import annotations

from torchvision.models.resnet import BasicBlock

from suite.backbones import _resnet
from suite.layers.model import Backbone

SETTINGS = _resnet.SETTINGS


def build(shape: tuple[int, int, int], classes: int, *, stem: str = "auto", width: float = 1.0) -> Backbone:
    """11,689,512 parameters with the imagenet stem, 3 channels and 1000 classes.

    Raises:
        UserError: an image side is below 5 pixels, or below 17 with the imagenet stem.
    """
    return _resnet.build("resnet18", BasicBlock, (2, 2, 2, 2), shape, classes, stem=stem, width=width)
