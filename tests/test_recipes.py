"""Recipes: the protocols' numbers, their knobs, the schedule."""

from __future__ import annotations

import subprocess
import sys

import pytest

from suite.settings import Refused
from suite.specs import Component, freeze
from suite.training.recipes import KNOBS, RECIPES, Recipe, canonical, learning_rate, resolve


def component(name: str, **settings: object) -> Component:
    return Component(name, freeze(settings))


def test_sire_rates_drop_by_five_after_60_120_and_160_of_200_epochs() -> None:
    rates = [learning_rate(RECIPES["sire"], epoch, 200) for epoch in range(1, 201)]
    expected = [0.1] * 60 + [0.02] * 60 + [0.004] * 40 + [0.0008] * 40
    assert rates == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 10, 30, 1000])
def test_a_smaller_budget_compresses_the_schedule(epochs: int) -> None:
    rates = [learning_rate(RECIPES["sire"], epoch, epochs) for epoch in range(1, epochs + 1)]
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    if epochs % 10 == 0:
        assert rates.count(0.1) == epochs * 3 // 10


def test_milestones_survive_floating_point() -> None:
    recipe = Recipe(schedule="step", milestones=(0.7,), factor=0.1)  # 0.7 * 10 == 7.000000000000001 in some orders
    assert [learning_rate(recipe, epoch, 10) for epoch in (7, 8)] == pytest.approx([0.1, 0.01])


def test_numbers_of_the_papers() -> None:
    sire, short, gradient = (RECIPES[name] for name in ("sire", "sire_1280", "gradient"))
    assert (sire.optimizer, sire.lr, sire.momentum, sire.nesterov, sire.weight_decay) == ("sgd", 0.1, 0.9, True, 5e-4)
    assert (sire.epochs, sire.batch, sire.flip, sire.selection) == (200, 64, True, "validation_error")
    assert (short.epochs, short.train_limit, short.schedule) == (5, 1280, "constant")
    assert (gradient.optimizer, gradient.lr, gradient.epochs, gradient.batch) == ("adam", 1e-3, 30, 128)
    assert not gradient.flip and gradient.weight_decay == 0


def test_every_knob_is_a_field_and_every_default_is_legal() -> None:
    assert set(KNOBS) == set(Recipe.__dataclass_fields__)
    for recipe in RECIPES.values():
        for name, knob in KNOBS.items():
            assert knob.value(getattr(recipe, name)) == getattr(recipe, name)


def test_overrides_and_hyperparameters() -> None:
    recipe = resolve(component("sire", lr=1, epochs=3), freeze({"lr": 0.05, "sire.lambda": 0.1}))
    assert (recipe.lr, recipe.epochs, recipe.batch) == (0.05, 3, 64)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (component("siree"), "did you mean 'sire'"),
        (component("sire", leraning_rate=1), "known: "),
        (component("sire", momentun=0.5), "did you mean 'momentum'"),
        (component("sire", lr="fast"), "must be a number"),
        (component("sire", batch=1), "must be 2 or more"),
        (component("sire", milestones=[0.5, 0.2]), "must rise"),
        (component("sire", milestones=[60]), "between 0 and 1"),
        (component("sire", selection="test_error"), "must be one of"),
        (component("sire", momentum=0.0), "needs a momentum"),
        (component("gradient", momentum=0.9), "does nothing with optimizer adam"),
        (component("gradient", factor=0.5), "does nothing with schedule constant"),
        (component("gradient", schedule="step"), "needs milestones"),
    ],
)
def test_refusals_are_sentences(given: Component, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        resolve(given)


def test_a_searched_knob_that_does_nothing_is_refused() -> None:
    with pytest.raises(Refused, match="does nothing with optimizer adam"):
        resolve(component("gradient"), freeze({"momentum": 0.9}))
    with pytest.raises(Refused, match="needs a momentum"):
        resolve(component("sire"), freeze({"momentum": 0.0}))


def test_the_budget_cant_be_searched() -> None:
    with pytest.raises(Refused, match="same budget"):
        resolve(component("sire"), freeze({"epochs": 3}))


def test_canonical_leaves_out_what_the_recipe_says_anyway() -> None:
    assert canonical(component("sire", lr=0.1, milestones=[0.3, 0.6, 0.8], batch=32)) == component("sire", batch=32)
    assert canonical(component("gradient", flip=False)) == component("gradient")
    assert canonical(component("sire_1280", train_limit=0)) == component("sire_1280", train_limit=0)


def test_planning_needs_no_torch() -> None:
    rooms = "suite.training.recipes, suite.training.outcome, suite.provenance"
    code = f"import sys, {rooms}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
