"""Hyperbolic tangents instead of rectifiers: what AlexNet's authors compare ReLU with (their section 3.1, Fig. 1)."""

from __future__ import annotations

from torch import nn

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Backbone, Graft
from suite.layers.surgery import replace

SETTINGS: dict[str, Setting] = {}


def apply(backbone: Backbone) -> Graft:
    """Every ReLU, the classifier's included, becomes a tanh; initial weights stay as they are.

    Raises:
        UserError: there is no ReLU.
    """
    if not replace(backbone, nn.ReLU, lambda _: nn.Tanh()):
        raise UserError("tanh: replaces ReLU, and this backbone has none; choose another backbone")
    return Graft(backbone)
