"""A changed training protocol: does it help this backbone? The network is the baseline's."""

from __future__ import annotations

from functools import partial
from typing import Any

from suite.core.errors import UserError
from suite.core.recipes import KNOBS
from suite.core.settings import Setting
from suite.layers.model import Backbone, Graft

CHANGEABLE = (
    "optimizer",
    "lr",
    "momentum",
    "nesterov",
    "weight_decay",
    "decay",
    "schedule",
    "milestones",
    "factor",
    "warmup",
    "epochs",
    "batch",
    "flip",
    "pad",
    "cutout",
    "mixup",
    "selection",
)


def _parse_knob(knob: Setting, given: Any) -> Any:
    return None if given is None else knob.parse_value(given)


def _make_optional(knob: Setting) -> Setting:
    """The knob, with the study's own value as its default."""
    return Setting(None, f"{knob.doc}; left out: as in the study's recipe", parse=partial(_parse_knob, knob))


SETTINGS = {name: _make_optional(KNOBS[name]) for name in CHANGEABLE}


def recipe(**settings: Any) -> dict[str, Any]:
    """Knobs that the variant's cells train with instead of the study's."""
    return {name: value for name, value in settings.items() if value is not None}


def apply(backbone: Backbone, **settings: Any) -> Graft:
    """The backbone itself.

    Raises:
        UserError: no knob is changed, so the variant would be the baseline.
    """
    if not recipe(**settings):
        raise UserError(f"training: changes nothing; name at least one knob of {', '.join(CHANGEABLE)}")
    return Graft(backbone)
