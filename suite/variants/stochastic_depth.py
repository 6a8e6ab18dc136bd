"""Stochastic depth (Huang et al. 2016): in training, residual branches are dropped at random, deep ones more often."""

from __future__ import annotations

from typing import Any

from torchvision.ops import StochasticDepth

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Backbone, Graft
from suite.layers.surgery import residuals


def parse_survival(given: Any) -> float:
    """A probability above 0. Raises ValueError with a sentence."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 1:
        raise ValueError(f"must be a probability above 0 and at most 1, not {given!r}")
    return float(given)


SETTINGS = {
    "survival": Setting(
        0.5, "p_L: how often the last block's branch survives; earlier blocks linearly more often", parse=parse_survival
    ),
}


def apply(backbone: Backbone, *, survival: float = 0.5) -> Graft:
    """Block l of L survives with p_l = 1 - l / L * (1 - p_L) (their section 3), drawn for every image on its own.

    The paper multiplies a branch by p_l at test time, torchvision divides what survives by p_l in training:
    equal in expectation. The paper draws once per batch; per image is torchvision's and timm's usual way.

    Raises:
        UserError: the backbone has no residual blocks.
    """
    blocks = residuals(backbone)
    if not blocks:
        raise UserError(
            "stochastic_depth: drops residual branches, and this backbone names none (class Residual); choose one that "
            "does"
        )
    for position, block in enumerate(blocks, start=1):
        block.branch.append(StochasticDepth(position / len(blocks) * (1 - survival), mode="row"))
    return Graft(backbone)
