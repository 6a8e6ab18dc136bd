"""The backbone without skip connections: the plain network whose degradation ResNet cures (He et al. 2016a, Fig. 1)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Backbone, Graft, Residual
from suite.layers.surgery import replace

SETTINGS: dict[str, Setting] = {}


def apply(backbone: Backbone) -> Graft:
    """Every residual block becomes its branch and its activation; projections go, with their parameters.

    Raises:
        UserError: there is no residual block.
    """
    if not replace(backbone, Residual, _make_plain_block):
        raise UserError("no_skip: this backbone names no residual blocks (class Residual); choose one that does")
    return Graft(backbone)


def _make_plain_block(block: Residual) -> nn.Module:
    return nn.Sequential(OrderedDict(branch=block.branch, activation=block.activation))
