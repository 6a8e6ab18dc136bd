"""Pre-activation ResNet-200 (He et al. 2016b, "Identity Mappings in Deep Residual Networks", section 5).

timm's ResNetV2 class with plain convolutions and batch norm: no weight standardisation, no group norm.
"""

from __future__ import annotations

from timm.layers import BatchNormAct2d, create_conv2d
from timm.models.resnetv2 import ResNetV2

from suite.core.settings import Setting
from suite.layers.model import Backbone
from suite.models import timm_adapter

SETTINGS: dict[str, Setting] = {}

DEPTHS = (3, 24, 36, 3)  # bottleneck blocks per stage: 2 + 3 * 66 = 200 layers


def build(shape: tuple[int, int, int], classes: int) -> Backbone:
    """64,666,152 parameters with 3 channels and 1000 classes, by arithmetic over the layers
    (tests/suite/models/test_timm_adapter.py).

    The authors' code has a batch norm and ReLU more, after the first convolution (128 parameters), and strides in the
    first 1 x 1 convolution of a block; timm's class strides in its 3 x 3 one.

    Raises:
        UserError: an image side is too small to be halved five times (17 pixels).
    """
    model = ResNetV2(
        layers=list(DEPTHS),
        num_classes=classes,
        in_chans=shape[0],
        conv_layer=create_conv2d,
        norm_layer=BatchNormAct2d,
    )
    return timm_adapter.cut_classifier(model, shape, classes, owner="preact_resnet200")
