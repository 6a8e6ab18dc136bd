"""ResNet (He et al. 2016a) of torchvision's blocks and initialisation, cut where its map shrinks."""

from __future__ import annotations

from typing import Any

from torch import nn

from suite.backbones._sizes import STEM, WIDTH, require_size, scale_channels, takes_small_stem
from suite.layers.model import Backbone, ConvUnit, Residual, Stage

SETTINGS = {"stem": STEM, "width": WIDTH}

PLANES = (64, 128, 256, 512)


def build(
    name: str,
    block: Any,
    depths: tuple[int, int, int, int],
    shape: tuple[int, int, int],
    classes: int,
    *,
    stem: str,
    width: float,
) -> Backbone:
    """A ResNet of torchvision's `block` class (BasicBlock or Bottleneck), `depths` blocks per layer.

    Raises:
        UserError: an image side is below 5 pixels, or below 17 with the imagenet stem.
    """
    small = takes_small_stem(stem, shape)
    require_size(name, shape, 5 if small else 17)
    planes = [scale_channels(full, width) for full in PLANES]
    # torchvision's Bottleneck strides at its 3x3 convolution (v1.5), the paper's at its first 1x1.
    layers = _make_layers(block, depths, planes)
    outs = [out * block.expansion for out in planes]
    stages = [] if small else _imagenet_stem(shape[0], planes[0])
    pending = [_small_stem(shape[0], planes[0])] if small else []
    into = shape[0] if small else planes[0]
    for i in range(1, len(layers)):
        pending += layers[i - 1]
        downsample = layers[i].pop(0)
        stages.append(Stage(nn.Sequential(*pending), downsample, in_channels=into, out_channels=outs[i]))
        pending, into = [], outs[i]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(outs[-1], classes))
    backbone = Backbone(stages, head, nn.Sequential(*layers[-1]))
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return backbone


def _imagenet_stem(channels: int, out: int) -> list[Stage]:
    conv = nn.Conv2d(channels, out, 7, stride=2, padding=3, bias=False)
    body = nn.Sequential(nn.BatchNorm2d(out), nn.ReLU())
    return [
        Stage(nn.Sequential(), conv, in_channels=channels, out_channels=out),
        Stage(body, nn.MaxPool2d(3, stride=2, padding=1), in_channels=out, out_channels=out),
    ]


def _small_stem(channels: int, out: int) -> nn.Module:
    return ConvUnit(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))


def _make_layers(block: Any, depths: tuple[int, ...], planes: list[int]) -> list[list[nn.Module]]:
    layers: list[list[nn.Module]] = []
    into = planes[0]
    for i, (depth, plane) in enumerate(zip(depths, planes, strict=True)):
        layers.append([])
        for position in range(depth):
            stride = 2 if i > 0 and position == 0 else 1
            layers[-1].append(_make_residual(block, into, plane, stride))
            into = plane * block.expansion
    return layers


def _make_residual(block: Any, into: int, plane: int, stride: int) -> Residual:
    out = plane * block.expansion
    projection = None
    if stride != 1 or into != out:
        projection = nn.Sequential(nn.Conv2d(into, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
    theirs = block(into, plane, stride, projection)
    steps: list[nn.Module] = []
    for layer in theirs.children():
        if isinstance(layer, nn.Conv2d):
            steps += [nn.ReLU(), layer] if steps else [layer]
        elif isinstance(layer, nn.BatchNorm2d):
            steps.append(layer)
    return Residual(nn.Sequential(*steps), projection, nn.ReLU())
