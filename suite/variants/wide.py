"""The parameter-matched control: the baseline widened until it has as many parameters as another variant.

A gain that a wider baseline shows too is a gain of size, not of the extension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.core.specs import split_variant
from suite.layers.model import Backbone, Graft, parameter_count
from suite.models import grafting

RESTARTS = True  # other shapes can't start from the baseline's values
ALONE = True  # it builds another backbone, which would undo what other variants did to this one

WITHIN = 0.01  # of the named variant's parameters (ours)
NARROWEST, WIDEST = 1 / 16, 16.0
CLOSE = 0.001  # near enough to stop looking
STEPS = 16


def parse_match(given: Any) -> str:
    """A variant's name, or a composition in its canonical order. Raises ValueError with a sentence."""
    if not isinstance(given, str) or {"baseline", "wide"} & set(split_variant(given)):
        raise ValueError(f"must be another variant like sire, or several like sire+squeeze_excite, not {given!r}")
    try:
        return grafting.canonical_name(given)
    except UserError as refusal:
        raise ValueError(f"names no variant to match: {refusal}") from refusal


SETTINGS = {
    "match": Setting("sire", "variant, with its default settings, whose parameters are matched", parse=parse_match),
}


def apply(backbone: Backbone, *, match: str = "sire") -> Graft:
    """The backbone built anew, wider; it draws from the global generator.

    Raises:
        UserError: the backbone has no width, the variant can't be served or adds no parameters, or no width comes
            within 1 % of its count.
    """
    build = backbone.rebuild
    if build is None:
        raise UserError(
            "wide: widens a backbone by its setting `width`, and this one has none; choose another backbone"
        )
    target = _count_matched_parameters(build, match)
    if target <= (1 + WITHIN) * parameter_count(backbone):
        raise UserError(
            f"wide.match: {match} adds no parameters to this backbone, or less than 1 %, so the baseline is its own "
            "control; leave wide out"
        )
    width, reached = _nearest_width(build, target)
    if abs(reached - target) > WITHIN * target:
        raise UserError(
            f"wide.match: no width has the {target:,} parameters of {match} within 1 %; the nearest, {width:.4g}, has "
            f"{reached:,}; match another variant or choose another backbone"
        )
    wider = build(width=width)
    wider.rebuild = partial(build, width=width)
    return Graft(wider)


def _count_matched_parameters(build: Callable[..., Backbone], match: str) -> int:
    with torch.device("meta"):
        try:
            return parameter_count(grafting.graft_variant(build(), match, {}).model)
        except UserError as refusal:
            raise UserError(f"wide.match: {match} can't be served here: {refusal}") from refusal


def _nearest_width(build: Callable[..., Backbone], target: int) -> tuple[float, int]:
    """The width whose parameters come nearest to the target, and their count; found without weights.

    Parameters grow with a power of the width between 1 and 2, so that a step by the square root never overshoots.
    """
    width, tried = 1.0, dict[float, int]()
    for _ in range(STEPS):
        with torch.device("meta"):
            tried[width] = parameter_count(build(width=width))
        if abs(tried[width] - target) <= CLOSE * target:
            break
        width = min(max(width * math.sqrt(target / tried[width]), NARROWEST), WIDEST)
        if width in tried:
            break
    nearest = min(tried, key=lambda tested: abs(tried[tested] - target))
    return nearest, tried[nearest]
