"""The pre-activation ResNet-18 for 32 px of DiffStride (Riad et al. 2022) and hybrid (docs/papers.md, section 3)."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

from torch import nn

from suite.backbones._sizes import WIDTH, require_size, scale_channels
from suite.core.settings import Setting
from suite.layers.model import Backbone, PoolingConv2d, Residual, Stage

WIDTHS = (64, 64, 128, 256, 512)
MAX_STRIDE = 8


def parse_strides(given: Any) -> tuple[int, ...]:
    """Five whole numbers of 1 to 8. Raises ValueError with a sentence."""
    items = tuple(given) if isinstance(given, list | tuple) else ()
    whole = all(isinstance(item, int) and not isinstance(item, bool) for item in items)
    if len(items) != len(WIDTHS) or not whole or not all(1 <= item <= MAX_STRIDE for item in items):
        raise ValueError(
            f"must be five whole numbers within 1 .. {MAX_STRIDE}, for the stem and four stages, "
            f"such as [1, 1, 2, 2, 2], not {given!r}"
        )
    return items


SETTINGS = {
    "strides": Setting(
        (1, 1, 2, 2, 2),
        "stride after the stem's convolution and of stages 1 to 4; stage 1 ignores its own",
        parse=parse_strides,
    ),
    "width": WIDTH,
}


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    strides: tuple[int, ...] = (1, 1, 2, 2, 2),
    width: float = 1.0,
) -> Backbone:
    """11,172,170 parameters with 3 channels and 10 classes, 11,218,340 with 100, at any strides.

    A stride above 1 ends a stage; a layer whose stride is 1 belongs to the next stage's body, or to the tail. The
    tail's `norm` is the last batch norm and ReLU, its `blocks` what comes before.

    Raises:
        UserError: the map before the last stride above 1 would be a single pixel.
    """
    taken = [stride for i, stride in enumerate(strides) if stride > 1 and i != 1]
    require_size("preact_resnet18", shape, math.prod(taken[:-1]) + 1 if taken else 1)
    stages: list[Stage] = []
    pending: list[nn.Module] = []
    into = channels = shape[0]
    for layer, stride, out in _make_layers(channels, strides, width):
        pending.append(layer)
        if stride > 1:
            stages.append(Stage(nn.Sequential(*pending[:-1]), layer, in_channels=into, out_channels=out, stride=stride))
            pending, into = [], out
        channels = out
    norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
    tail = nn.Sequential(OrderedDict(blocks=nn.Sequential(*pending), norm=norm))
    backbone = Backbone(
        stages, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)), tail
    )
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return backbone


def _make_layers(channels: int, strides: tuple[int, ...], width: float) -> list[tuple[nn.Module, int, int]]:
    """Stem and residual layers in order, each with its stride and output channels."""
    stem, first, *others = (scale_channels(full, width) for full in WIDTHS)
    layers: list[tuple[nn.Module, int, int]] = [
        (_make_pooling(channels, stem, 3, strides[0]), strides[0], stem),
        (_make_identity_block(stem), 1, stem),
        (_make_identity_block(stem), 1, stem),
    ]
    channels = first
    for out, stride in zip(others, strides[2:], strict=True):
        layers += [(_make_projecting_block(channels, out, stride), stride, out), (_make_identity_block(out), 1, out)]
        channels = out
    return layers


def _make_identity_block(channels: int) -> Residual:
    first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    return Residual(_make_branch(channels, first, channels))


def _make_projecting_block(channels: int, out: int, stride: int) -> Residual:
    """The shortcut projects the raw input, not its activation."""
    return Residual(
        _make_branch(channels, _make_pooling(channels, out, 3, stride), out), _make_pooling(channels, out, 1, stride)
    )


def _make_branch(channels: int, first: nn.Conv2d, out: int) -> nn.Sequential:
    second = nn.Conv2d(out, out, 3, padding=1, bias=False)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), first, nn.BatchNorm2d(out), nn.ReLU(), second)


def _make_pooling(channels: int, out: int, kernel: int, stride: int) -> PoolingConv2d:
    return PoolingConv2d(channels, out, kernel, stride=stride, padding=kernel // 2, bias=False)
