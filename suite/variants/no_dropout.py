"""The backbone without dropout."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Backbone, Graft
from suite.layers.surgery import replace

SETTINGS: dict[str, Setting] = {}


def apply(backbone: Backbone) -> Graft:
    """Every dropout layer, of any dimension, taken out.

    Raises:
        UserError: there is none with a probability above 0.
    """
    if not replace(backbone, _DropoutNd, lambda dropout: nn.Identity() if dropout.p > 0 else dropout):
        raise UserError("no_dropout: this backbone drops nothing already; leave the variant out")
    return Graft(backbone)
