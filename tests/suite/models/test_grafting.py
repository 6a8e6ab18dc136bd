"""Variants alone and composed: one name per composition, parts that draw as they do alone, nonsense refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.backbones import resnet18
from suite.core import registry
from suite.core.errors import UserError
from suite.core.settings import canonicalize_component
from suite.core.specs import Cell, Component, Streams, Trial, freeze_settings
from suite.layers.model import Backbone, Graft, ModelOutput, Stage
from suite.models import grafting
from suite.models.assembly import assemble_network

SHAPE, CLASSES = (1, 16, 16), 10


def graft(variant: str, stage: Any = "confirm", chosen: dict[str, Any] | None = None, **settings: Any) -> Graft:
    backbone = Component("base_cnn", freeze_settings({"width": 0.125}))
    cell = Cell(Component("digits"), backbone, Component(variant, freeze_settings(settings)))
    return assemble_network(
        cell, SHAPE, CLASSES, streams=Streams(stage, 1), hyperparameters=freeze_settings(chosen or {})
    )


def state(variant: str, **settings: Any) -> dict[str, Tensor]:
    return graft(variant, **settings).model.state_dict()


# -- names


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("sire+squeeze_excite", "squeeze_excite+sire"),
        ("squeeze_excite+sire", "squeeze_excite+sire"),
        ("training+no_dropout+no_batch_norm", "no_batch_norm+no_dropout+training"),
        ("lsuv+tanh", "tanh+lsuv"),  # new weights come after the structure that they are for
        ("sire", "sire"),
        ("baseline", "baseline"),
        ("wide", "wide"),
    ],
)
def test_a_composition_has_one_name(written: str, name: str) -> None:
    assert grafting.canonical_name(written) == name
    assert grafting.canonical_name(name) == name


def test_any_order_is_one_cell_with_one_key() -> None:
    def key(variant: str) -> str:
        settings = freeze_settings({"sire.lambda": 0.3, "squeeze_excite.reduction": 8})
        component = Component(grafting.canonical_name(variant), settings)
        found = canonicalize_component(grafting.find_settings(component.name), component, "variants[0]")
        cell = Cell(Component("digits"), Component("base_cnn"), found)
        return Trial(cell=cell, recipe=Component("sire"), stage="confirm", seed=0, epochs=1).key

    orders = itertools.permutations(["sire", "squeeze_excite", "no_dropout"])
    assert len({key("+".join(order)) for order in orders}) == 1


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        ("sire+sire", r"^sire\+sire: names a variant twice; leave one out$"),
        ("baseline+sire", r"^baseline\+sire: baseline composes with nothing; leave it or the rest out$"),
        ("wide+sire", r"^wide\+sire: wide composes with nothing; leave it or the rest out$"),
        ("sire+image_gradient", r"^sire\+image_gradient: sire and image_gradient both replace the forward pass; keep"),
        ("sire+squeeze_exite", r"unknown variant 'squeeze_exite'; did you mean 'squeeze_excite'\?$"),
        ("sire+", r"unknown variant ''"),
        ("sire + squeeze_excite", r"unknown variant 'sire '; did you mean 'sire'\?$"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(variant: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        grafting.canonical_name(variant)


def test_compositions_restart_when_a_part_does() -> None:
    assert grafting.restarts_parameters("tanh+lsuv") and grafting.restarts_parameters("wide")
    assert not grafting.restarts_parameters("squeeze_excite+sire")


# -- settings


def test_settings_of_a_composition_are_named_by_part() -> None:
    own = {f"{part}.{name}" for part in ("sire", "squeeze_excite") for name in grafting.find_settings(part)}
    assert set(grafting.find_settings("squeeze_excite+sire")) == own
    assert "sire.lambda" in own and "lambda" not in own


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sire.lamda": 1}, r"^squeeze_excite\+sire\.sire\.lamda: unknown setting; did you mean 'sire\.lambda'\?$"),
        ({"lambda": 1}, r"^squeeze_excite\+sire\.lambda: unknown setting; did you mean 'sire\.lambda'\?$"),
        ({"sire.lambda": -1}, r"^squeeze_excite\+sire\.sire\.lambda: must be a finite number of 0 or more"),
        ({"squeeze_excite.reduction": 0}, r"squeeze_excite\.reduction: must be"),
    ],
)
def test_a_wrong_setting_of_a_part_is_named_with_it(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        graft("squeeze_excite+sire", **settings)


def test_a_search_sets_a_parts_setting() -> None:
    """`sire.lambda` means the same in `sire` and in `sire+squeeze_excite`, and overrides what the cell says."""
    torch.manual_seed(0)
    images = torch.randn(4, *SHAPE)

    def extra(weight: float) -> Tensor:
        found = graft("squeeze_excite+sire", chosen={"sire.lambda": weight, "lr": 0.1}, **{"sire.lambda": 0.7})
        output = found.model.train()(images)
        assert found.extra_loss is not None
        return found.extra_loss(output).detach()

    assert float(extra(0.4)) == pytest.approx(2 * float(extra(0.2)), rel=1e-5)


def test_a_hyperparameter_of_another_variant_is_refused() -> None:
    with pytest.raises(UserError, match=r"wide\.factor: the cell's variant is squeeze_excite\+sire, so this"):
        graft("squeeze_excite+sire", chosen={"wide.factor": 2.0})


@pytest.mark.parametrize(
    ("variant", "settings", "changes"),
    [
        ("baseline", {}, {}),
        ("no_augmentation", {}, {"augment": False}),
        ("training", {"lr": 1, "milestones": [0.5]}, {"lr": 1.0, "milestones": (0.5,)}),
        ("no_dropout+training", {"training.epochs": 3}, {"epochs": 3}),
        ("no_augmentation+training", {"training.lr": 0.5}, {"augment": False, "lr": 0.5}),
    ],
)
def test_recipe_changes(variant: str, settings: dict[str, Any], changes: dict[str, Any]) -> None:
    assert grafting.recipe_changes(variant, settings) == changes


def test_two_parts_that_change_one_knob_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = registry.load_component("variant", "tanh")
    monkeypatch.setattr(module, "recipe", lambda: {"lr": 1.0}, raising=False)
    with pytest.raises(UserError, match=r"^tanh\+training: two of its parts change recipe\.lr; keep one of them$"):
        grafting.recipe_changes("tanh+training", {"training.lr": 0.5})


# -- what is built


def test_parts_draw_from_the_same_streams_as_alone() -> None:
    plain, sire, squeeze, both = (state(name) for name in ("baseline", "sire", "squeeze_excite", "squeeze_excite+sire"))
    bare = {name.removeprefix("backbone."): value for name, value in both.items()}
    assert all(torch.equal(value, bare[name]) for name, value in plain.items()), "the backbone is its baseline's"
    decoders = {name: value for name, value in sire.items() if not name.startswith("backbone.")}
    assert decoders and all(torch.equal(value, both[name]) for name, value in decoders.items())
    added = squeeze.keys() - plain.keys()
    assert added and all(torch.equal(squeeze[name], bare[name]) for name in added)
    assert both.keys() >= sire.keys()


def test_the_order_that_is_written_builds_one_network() -> None:
    one, other = state("sire+squeeze_excite"), state("squeeze_excite+sire")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    other = graft("sire+squeeze_excite", stage="search").model.state_dict()
    assert not all(torch.equal(one[name], other[name]) for name in one), "another stage, other streams"


def tiny() -> Backbone:
    return Backbone([Stage(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), in_channels=1, out_channels=2)], nn.Flatten())


def test_what_parts_bring_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def part(name: str, weight: float) -> Any:
        def apply(backbone: Backbone) -> Graft:
            return Graft(
                backbone,
                extra_loss=lambda output: weight * output.logits.sum(),
                cross_entropy_scale=weight,
                initialise=lambda images: calls.append(f"{name} starts"),
                after_step=lambda: calls.append(f"{name} steps"),
            )

        return type(name, (), {"SETTINGS": {}, "apply": staticmethod(apply)})

    modules = {"a": part("a", 2.0), "b": part("b", 5.0), "c": type("c", (), {"SETTINGS": {}, "apply": Graft})}
    monkeypatch.setattr(registry, "load_component", lambda kind, name: modules[name])
    streams: list[str] = []

    def stream(name: str) -> Any:
        streams.append(name)
        return torch.random.fork_rng(devices=[])

    whole = grafting.graft_variant(tiny(), "c+b+a", {}, stream)
    assert streams == ["a", "b", "c"]
    assert whole.cross_entropy_scale == 10.0
    assert whole.extra_loss and whole.initialise and whole.after_step
    assert float(whole.extra_loss(ModelOutput(torch.ones(1, 1)))) == 7.0
    whole.initialise(torch.zeros(1))
    whole.after_step()
    assert calls == ["a starts", "b starts", "a steps", "b steps"]


def test_a_part_that_finds_nothing_left_says_what_came_first() -> None:
    backbone = resnet18.build((3, 32, 32), 10, width=0.125)
    with pytest.raises(UserError, match=r"names none .* \(in stochastic_depth\+no_skip, where no_skip came first\)"):
        grafting.graft_variant(backbone, "stochastic_depth+no_skip", {})
