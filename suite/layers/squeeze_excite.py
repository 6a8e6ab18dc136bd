"""Where squeeze-and-excitation blocks go in a backbone (Hu et al. 2018, "Squeeze-and-Excitation Networks")."""

from __future__ import annotations

from timm.layers import SEModule
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import nn
from torchvision.models.googlenet import Inception
from torchvision.models.inception import InceptionA, InceptionB, InceptionC, InceptionD, InceptionE
from torchvision.ops import SqueezeExcitation

from suite.layers.model import Backbone, ConvUnit, kernel_convolutions
from suite.layers.surgery import features, follow, output_channels, residuals

INCEPTIONS = (Inception, InceptionA, InceptionB, InceptionC, InceptionD, InceptionE)
GATES = (SqueezeExcitation, SEModule, SqueezeExcite)


def has_blocks(backbone: Backbone) -> bool:
    """Whether the backbone has such blocks already, torchvision's or timm's."""
    return any(isinstance(module, GATES) for module in backbone.modules())


def insert_blocks(backbone: Backbone, reduction: int) -> int:
    """Inserts a block at every place that the backbone has; how many.

    Places: the end of every residual branch, before the sum (their Fig. 3), and every Inception block's output
    (Fig. 2). A backbone with neither gets one after every convolution unit's activation (section 3.3, on VGG).
    """
    blocks = residuals(backbone)
    inceptions = [module for module in features(backbone) if isinstance(module, INCEPTIONS)]
    units: list[ConvUnit] = []
    if not blocks and not inceptions:
        units = _list_units(backbone)
    for block in blocks:
        block.branch.append(_make_gate(output_channels(block.branch), reduction))
    for inception in inceptions:
        follow(inception, "squeeze_excite", _make_gate(output_channels(inception), reduction))
    for unit in units:
        unit.activation = nn.Sequential(unit.activation, _make_gate(unit.conv.out_channels, reduction))
    return len(blocks) + len(inceptions) + len(units)


def _list_units(backbone: Backbone) -> list[ConvUnit]:
    """The convolution units, where they hold every k x k convolution of the features; else none."""
    units = [module for module in features(backbone) if isinstance(module, ConvUnit)]
    outside = {*kernel_convolutions(backbone.stages), *kernel_convolutions(backbone.tail)}
    outside.difference_update(*map(kernel_convolutions, units))
    return [] if outside else units


def _make_gate(channels: int, reduction: int) -> nn.Module:
    """Pool to one value per channel, two dense layers (as 1 x 1 convolutions), sigmoid, scale: 2CC/r weights."""
    gate: nn.Module = SqueezeExcitation(channels, max(1, channels // reduction))
    return gate
