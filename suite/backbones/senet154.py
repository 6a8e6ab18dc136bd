"""SENet-154: the network that won ILSVRC 2017 (Hu et al. 2018, "Squeeze-and-Excitation Networks", appendix).

timm's: a 64 x 4d ResNeXt-152 with SE blocks, a stem of three 3 x 3 convolutions, 3 x 3 projections, half-width first
1 x 1 convolutions, and dropout of 0.2 before the classifier.
"""

from __future__ import annotations

from suite.core.settings import Setting
from suite.layers.model import Backbone
from suite.models import timm_adapter

SETTINGS = {"dropout": Setting(0.2, "before the classifier, as in the paper's appendix", low=0.0, high=0.95)}


def build(shape: tuple[int, int, int], classes: int, *, dropout: float = 0.2) -> Backbone:
    """115,088,984 parameters with 3 channels and 1000 classes; equal in timm's two ports (Gluon's and Cadene's).

    Raises:
        UserError: an image side is too small to be halved five times (17 pixels).
    """
    return timm_adapter.build(shape, classes, model="senet154", drop_rate=dropout, owner="senet154")
