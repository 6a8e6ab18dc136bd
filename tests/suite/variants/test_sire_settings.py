"""SIRe's settings: what is legal, what is refused and with which sentence (docs/papers.md, section 1)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from torch import nn

from suite.backbones import base_cnn, gradient_cnn
from suite.core.errors import UserError
from suite.core.settings import canonicalize_component
from suite.core.specs import Component
from suite.layers.model import Backbone
from suite.variants import sire


def small() -> Backbone:
    return base_cnn.build((3, 16, 16), 10, width=0.05)


@pytest.mark.parametrize("components", ["SIRe", "SI", "IRe", "I", "Re"])
def test_every_subset_of_table_1_is_legal(components: str) -> None:
    graft = sire.apply(small(), components=components)
    assert (graft.extra_loss is not None) == ("I" in components)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"components": "S"}, "S without I"),
        ({"components": "SRe"}, "S without I"),
        ({"components": ""}, "use the variant baseline"),
        ({"components": "ReI"}, "must be SIRe or a part of it"),
        ({"components": "sire"}, "must be SIRe or a part of it"),
        ({"components": 3}, "must be SIRe or a part of it"),
        ({"decoders": 5}, r"5 out of range; .* choose from 1\.\.4"),
        ({"decoders": [1, 0]}, "counted from 1"),
        ({"decoders": []}, "counted from 1"),
        ({"decoders": True}, "counted from 1"),
        ({"decoders": [1], "components": "Re"}, "has no I"),
        ({"lambda": 0.1, "components": "Re"}, "sire.lambda: weighs decoders, but components has no I"),
        ({"lambda": -0.1}, "0 or more"),
        ({"lambda": math.nan}, "0 or more"),
        ({"lambda": math.inf}, "finite"),
        ({"lambda": "0.2"}, "0 or more"),
        ({"lambda": [0.1, math.nan, 0.1, 0.1]}, "0 or more"),
        ({"lambda": []}, "not an empty list"),
        ({"lambda": [0.1, 0.2]}, "2 numbers for 4 decoders"),
        ({"residual": "before_norm "}, "before_norm, before_activation"),
        ({"residual": "before_activation", "components": "SI"}, "sire.residual: says where Re adds, but components"),
        ({"ce_scale": "mean"}, "plain, per_class"),
        ({"lamda": 0.1}, "did you mean 'lambda'"),
    ],
)
def test_refusals(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        sire.apply(small(), **settings)


def test_re_alone_is_refused_where_nothing_takes_it() -> None:
    backbone = gradient_cnn.build((3, 32, 32), 10)
    with pytest.raises(UserError, match="spans two convolution units"):
        sire.apply(backbone, components="Re")
    sire.apply(backbone, components="IRe")  # elsewhere it is left out where it has nothing to span


def test_i_is_refused_without_downsampling() -> None:
    with pytest.raises(UserError, match="names none"):
        sire.apply(Backbone([], nn.Flatten()))


def test_settings_become_canonical() -> None:
    def canon(**settings: Any) -> Component:
        return canonicalize_component(sire.SETTINGS, Component("sire", tuple(settings.items())), "sire")

    assert canon(decoders=[4, 1, 4]) == canon(decoders=(1, 4))
    assert canon(decoders=2) == canon(decoders=[2])
    assert canon(**{"lambda": 1}) == Component("sire", (("lambda", 1.0),))
    assert canon(**{"lambda": 0.2, "components": "SIRe", "decoders": "all"}) == Component("sire")
