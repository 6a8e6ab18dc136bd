"""Inception-ResNet-v2 (Szegedy et al. 2017, "Inception-v4, Inception-ResNet and the Impact of Residual Connections").

timm's, a port of TensorFlow Slim's.
"""

from __future__ import annotations

from suite.core.settings import Setting
from suite.layers.model import Backbone
from suite.models import timm_adapter

SETTINGS = {
    "dropout": Setting(0.2, "before the classifier; the paper keeps 0.8 of the units (Fig. 15)", low=0.0, high=0.95)
}


def build(shape: tuple[int, int, int], classes: int, *, dropout: float = 0.2) -> Backbone:
    """55,843,464 parameters with 3 channels and 1000 classes, as timm lists it (55.84M).

    Raises:
        UserError: an image side is below 75 pixels.
    """
    return timm_adapter.build(
        shape, classes, model="inception_resnet_v2", drop_rate=dropout, owner="inception_resnet_v2"
    )
