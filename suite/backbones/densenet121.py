"""DenseNet-121 (Huang et al. 2017, Table 1): torchvision's network, cut at its transitions' pools."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.densenet import DenseNet

from suite.backbones._sizes import STEM, require_size, takes_small_stem
from suite.layers.model import Backbone, Stage

SETTINGS = {"stem": STEM}

STEM_CHANNELS = 64


def build(shape: tuple[int, int, int], classes: int, *, stem: str = "auto") -> Backbone:
    """7,978,856 parameters with the imagenet stem, 3 channels and 1000 classes.

    Raises:
        UserError: an image side is below 8 pixels, or below 29 with the imagenet stem.
    """
    small = takes_small_stem(stem, shape)
    require_size("densenet121", shape, 8 if small else 29)
    theirs = DenseNet(num_init_features=STEM_CHANNELS, num_classes=classes)
    for layer in theirs.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # without batch norm before it, it would change a map that others read
    parts = theirs.features
    stages, pending = ([], _small_stem(shape[0], parts)) if small else (_imagenet_stem(shape[0], parts), [])
    into = shape[0] if small else STEM_CHANNELS
    for i in (1, 2, 3):
        *rest, pool = parts.get_submodule(f"transition{i}")
        body = nn.Sequential(*pending, parts.get_submodule(f"denseblock{i}"), *rest)
        out = rest[-1].out_channels
        stages.append(Stage(body, pool, in_channels=into, out_channels=out))
        pending, into = [], out
    tail = nn.Sequential(parts.denseblock4, parts.norm5, nn.ReLU())
    return Backbone(stages, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), theirs.classifier), tail)


def _imagenet_stem(channels: int, parts: Any) -> list[Stage]:
    conv = _make_convolution(channels, 7, 2)
    body = nn.Sequential(parts.norm0, parts.relu0)
    return [
        Stage(nn.Sequential(), conv, in_channels=channels, out_channels=STEM_CHANNELS),
        Stage(body, nn.MaxPool2d(3, stride=2, padding=1), in_channels=STEM_CHANNELS, out_channels=STEM_CHANNELS),
    ]


def _small_stem(channels: int, parts: Any) -> list[nn.Module]:
    return [_make_convolution(channels, 3, 1), parts.norm0, parts.relu0]


def _make_convolution(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, STEM_CHANNELS, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return conv
