"""The backbone without its auxiliary classifiers (Szegedy et al. 2015, section 5)."""

from __future__ import annotations

from torch import nn

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Auxiliary, Backbone, Graft
from suite.layers.surgery import replace

SETTINGS: dict[str, Setting] = {}


def apply(backbone: Backbone) -> Graft:
    """Every auxiliary classifier taken out, with its parameters and its term of the loss.

    Raises:
        UserError: there is none.
    """
    if not replace(backbone, Auxiliary, lambda _: nn.Identity()):
        raise UserError("no_aux: this backbone has no auxiliary classifiers to take out; leave the variant out")
    return Graft(backbone)
