"""Squeeze-and-excitation (Hu et al. 2018): every channel scaled by what a small net makes of all channels' means."""

from __future__ import annotations

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers import squeeze_excite
from suite.layers.model import Backbone, Graft

SETTINGS = {
    "reduction": Setting(16, "r: a block's hidden layer has channels // r units, at least one (section 6.1)", low=1),
}


def apply(backbone: Backbone, *, reduction: int = 16) -> Graft:
    """The backbone with a block in every residual branch and after every Inception block, or else every ConvUnit.

    Raises:
        UserError: the backbone has none of these, or squeeze-and-excitation already.
    """
    if squeeze_excite.has_blocks(backbone):
        raise UserError(
            "squeeze_excite: this backbone has squeeze-and-excitation blocks already; leave the variant out"
        )
    if not squeeze_excite.insert_blocks(backbone, reduction):
        raise UserError(
            "squeeze_excite: goes into residual blocks, Inception blocks or convolution units (class ConvUnit), and "
            "this backbone names none of them; choose one that does"
        )
    return Graft(backbone)
