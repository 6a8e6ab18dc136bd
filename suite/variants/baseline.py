"""The baseline: the backbone as it is."""

from __future__ import annotations

from suite.core.settings import Setting
from suite.layers.model import Backbone, Graft

SETTINGS: dict[str, Setting] = {}


def apply(backbone: Backbone) -> Graft:
    """The backbone itself, trained on the cross-entropy alone."""
    return Graft(backbone)
