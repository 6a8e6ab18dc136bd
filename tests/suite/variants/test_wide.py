"""The parameter-matched control."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from suite.backbones import base_cnn
from suite.core import settings
from suite.core.errors import UserError
from suite.layers.model import Backbone, parameter_count
from suite.models import grafting
from suite.variants import wide


def rebuildable(build: Callable[..., Backbone]) -> Backbone:
    """As whoever assembles hands a backbone on."""
    torch.manual_seed(0)
    backbone = build()
    backbone.rebuild = build
    return backbone


def small(**changes: Any) -> Backbone:
    return base_cnn.build((3, 32, 32), 10, **{"width": 1 / 8, **changes})


@pytest.mark.parametrize("match", ["sire", "squeeze_excite", "sire+squeeze_excite"])
def test_reaches_the_parameters_of_the_variant(match: str) -> None:
    backbone = rebuildable(small)
    own = parameter_count(backbone)
    model = wide.apply(backbone, match=match).model
    target = parameter_count(grafting.graft_variant(small(), match, {}).model)
    assert own < target and parameter_count(model) == pytest.approx(target, rel=0.01)
    assert model(torch.randn(2, 3, 32, 32)).logits.shape == (2, 10)
    assert parameter_count(backbone) == own, "the given backbone stays as it was"


def test_the_paper_s_network_against_its_extension() -> None:
    with torch.device("meta"):
        backbone = rebuildable(partial(base_cnn.build, (3, 32, 32), 100))
        model = wide.apply(backbone).model
    assert parameter_count(model) == pytest.approx(14_072_944, rel=0.01)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_draws_from_the_global_generator_and_can_be_rebuilt() -> None:
    def start(seed: int) -> Backbone:
        backbone = rebuildable(small)
        torch.manual_seed(seed)
        model = wide.apply(backbone, match="squeeze_excite").model
        assert isinstance(model, Backbone)
        return model

    one, same, other = (start(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    again = start(1).rebuild
    assert again is not None and parameter_count(again()) == sum(p.numel() for p in start(1).parameters())


def test_says_why_it_cannot_match() -> None:
    with pytest.raises(UserError, match="wide: widens a backbone by its setting `width`"):
        wide.apply(small())
    with pytest.raises(UserError, match="no_dropout adds no parameters to this backbone, or less than 1 %, so the"):
        wide.apply(rebuildable(small), match="no_dropout")
    with pytest.raises(UserError, match=r"wide.match: no_lrn can't be served here: no_lrn: "):
        wide.apply(rebuildable(small), match="no_lrn")


def test_refuses_a_width_that_moves_in_large_steps() -> None:
    def coarse(width: float = 1.0) -> Backbone:
        return base_cnn.build((3, 32, 32), 10, width=max(1, round(width)) / 8)

    with pytest.raises(
        UserError, match=r"no width has the [\d,]+ parameters of sire within 1 %; the nearest, [\d.]+, has"
    ):
        wide.apply(rebuildable(coarse))


@pytest.mark.parametrize("given", ["baseline", "wide", "sire+wide", "sier", "sire+sire", "", 3, None])
def test_matches_another_variant_by_name(given: Any) -> None:
    with pytest.raises(UserError, match=r"^wide.match: (must be another variant|names no variant)"):
        settings.resolve_settings(wide.SETTINGS, {"match": given}, "wide")


def test_a_composition_has_one_spelling() -> None:
    assert wide.SETTINGS["match"].parse_value("sire+squeeze_excite") == wide.SETTINGS["match"].parse_value(
        "squeeze_excite+sire"
    )
