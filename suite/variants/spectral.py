"""Spectral pooling: fixed, in place of a backbone's shrinking operations, or Hartley pooling at the end alone.

docs/papers.md, section 3; Rippel et al. 2015; Rafif et al. 2024, section 3.3.
"""

from __future__ import annotations

from typing import Any

from suite.core.errors import UserError
from suite.core.settings import Setting, resolve_settings
from suite.layers.model import Backbone, Graft
from suite.layers.shrinking import END_STRIDE, POSITION, fill_end, fill_place, find_places, refuse_unfit
from suite.layers.spectral import FixedSpectralPool, HartleyPool

SETTINGS = {
    "where": Setting(
        "all",
        "all: fixed spectral pooling for every shrinking operation; end: Hartley pooling that halves, at the end alone",
        choices=("all", "end"),
    ),
    "position": POSITION,
}


def apply(backbone: Backbone, **settings: Any) -> Graft:
    """The backbone with spectral pools of its own strides, or with one more pool that halves its last map.

    Raises:
        UserError: nothing to replace, a map too small to shrink, no place for `position`, a setting without effect, or
            a classifier or block that takes maps of the original size alone.
    """
    chosen = resolve_settings(SETTINGS, settings, "spectral")
    if chosen["where"] == "end":
        fill_end(backbone, HartleyPool(END_STRIDE), chosen["position"], "spectral")
    else:
        if chosen["position"] != POSITION.default:
            raise UserError("spectral.position: does nothing with where: all; leave it out, or set where to end")
        for place in find_places(backbone, "spectral"):
            fill_place(backbone, place, FixedSpectralPool(place.strides))
    refuse_unfit(backbone, "spectral")
    return Graft(backbone)
