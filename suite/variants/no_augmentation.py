"""Training without the recipe's augmentation; the network is the baseline's."""

from __future__ import annotations

from typing import Any

from suite.core.settings import Setting
from suite.layers.model import Backbone, Graft

SETTINGS: dict[str, Setting] = {}


def recipe() -> dict[str, Any]:
    """Knobs that the variant's cells train with instead of the study's."""
    return {"augment": False}


def apply(backbone: Backbone) -> Graft:
    """The backbone itself."""
    return Graft(backbone)
