"""What GoogLeNet and Inception-v3 share: their convolution, and torchvision's initialisation."""

from __future__ import annotations

from typing import Any

from torch import nn

from suite.layers.model import ConvUnit


def make_unit(channels: int, out: int, **convolution: Any) -> ConvUnit:
    """torchvision's `BasicConv2d` (no bias, batch norm with eps 0.001) with its functional ReLU as a module."""
    return ConvUnit(nn.Conv2d(channels, out, bias=False, **convolution), nn.BatchNorm2d(out, eps=0.001))


def initialise_weights(root: nn.Module, std: float) -> None:
    """Truncated normal weights of convolutions and dense layers; biases stay as PyTorch draws them."""
    for layer in root.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, mean=0.0, std=std, a=-2, b=2)
