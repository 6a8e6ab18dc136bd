"""The baseline: the backbone as it is."""

from __future__ import annotations

from suite.layers.model import Backbone, Graft
from suite.settings import Setting

SETTINGS: dict[str, Setting] = {}


def apply(backbone: Backbone) -> Graft:
    """The backbone itself, trained on the cross-entropy alone."""
    return Graft(backbone)
