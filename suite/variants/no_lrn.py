"""The backbone without local response normalisation: what AlexNet's authors added it for (their section 3.3)."""

from __future__ import annotations

from torch import nn

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Backbone, Graft
from suite.layers.surgery import replace

SETTINGS: dict[str, Setting] = {}


def apply(backbone: Backbone) -> Graft:
    """Every local response normalisation taken out.

    Raises:
        UserError: there is none.
    """
    if not replace(backbone, nn.LocalResponseNorm, lambda _: nn.Identity()):
        raise UserError("no_lrn: this backbone has no local response normalisation to take out; leave the variant out")
    return Graft(backbone)
