"""Recipes: the protocols' numbers, their knobs, the schedule."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from typing import Literal

import pytest
import torch
from torch import nn

from suite.core.errors import UserError
from suite.core.recipes import (
    KNOBS,
    RECIPES,
    Recipe,
    Schedule,
    canonicalize_recipe,
    compute_learning_rate,
    find_idle_knobs,
    resolve_recipe,
)
from suite.core.specs import Component, freeze_settings
from suite.training.loop import build_optimizer


def component(name: str, **settings: object) -> Component:
    return Component(name, freeze_settings(settings))


def test_sire_rates_drop_by_five_after_60_120_and_160_of_200_epochs() -> None:
    rates = [compute_learning_rate(RECIPES["sire"], epoch, 200) for epoch in range(1, 201)]
    expected = [0.1] * 60 + [0.02] * 60 + [0.004] * 40 + [0.0008] * 40
    assert rates == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 10, 30, 1000])
def test_a_smaller_budget_compresses_the_schedule(epochs: int) -> None:
    rates = [compute_learning_rate(RECIPES["sire"], epoch, epochs) for epoch in range(1, epochs + 1)]
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    if epochs % 10 == 0:
        assert rates.count(0.1) == epochs * 3 // 10


def test_cosine_falls_from_the_rate_to_almost_zero() -> None:
    recipe = Recipe(lr=0.4, schedule="cosine")
    rates = [compute_learning_rate(recipe, epoch, 10) for epoch in range(1, 11)]
    assert rates == pytest.approx([0.2 * (1 + math.cos(math.pi * done / 10)) for done in range(10)])
    assert rates[0] == 0.4 and rates == sorted(rates, reverse=True) and rates[-1] > 0


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_warmup_rises_in_equal_steps_below_the_rate(schedule: Schedule) -> None:
    recipe = Recipe(lr=0.6, schedule=schedule, milestones=(0.5,), warmup=0.2)
    rates = [compute_learning_rate(recipe, epoch, 10) for epoch in range(1, 11)]
    assert rates[:3] == pytest.approx([0.2, 0.4, 0.6])
    assert max(rates) == rates[2]
    if schedule == "cosine":
        assert rates[2:] == pytest.approx([0.3 * (1 + math.cos(math.pi * done / 8)) for done in range(8)])
    else:
        assert rates[2:] == pytest.approx([0.6] * 3 + [0.06] * 5), "milestones are fractions of the whole budget"


def test_the_imagenet_recipe_warms_up_for_5_of_90_epochs() -> None:
    recipe = RECIPES["imagenet"]
    rates = [compute_learning_rate(recipe, epoch, 90) for epoch in range(1, 91)]
    assert rates[:6] == pytest.approx([0.1 * step / 6 for step in range(1, 7)]) and rates[5] == max(rates)


def test_diffstride_trains_as_its_code_does() -> None:
    """Steps of 128 of 50,000 images, 391 an epoch: 400, 18,000 and 32,000 of 78,000 steps, to the nearest epoch."""
    recipe = RECIPES["diffstride"]
    rates = [compute_learning_rate(recipe, epoch, recipe.epochs) for epoch in range(1, recipe.epochs + 1)]
    assert rates == pytest.approx([0.01] + [0.1] * 45 + [0.01] * 36 + [0.001] * 118)
    ends = [1, 46, 82, 200]
    assert [round(steps * 128 / 50_000) for steps in (400, 18_000, 32_000, 78_000)] == ends
    assert (recipe.optimizer, recipe.momentum, recipe.nesterov, recipe.batch) == ("sgd", 0.9, False, 128)
    assert (recipe.weight_decay, recipe.decay, recipe.mixup) == (1e-3, "weights", 0.2)
    assert (recipe.flip, recipe.pad, recipe.random_resized_crop, recipe.cutout) == (False, 0, 0, 0)


def test_a_warmup_factor_holds_the_rate_instead_of_raising_it() -> None:
    recipe = Recipe(lr=0.6, schedule="cosine", warmup=0.3, warmup_factor=0.5)
    rates = [compute_learning_rate(recipe, epoch, 10) for epoch in range(1, 5)]
    assert rates == pytest.approx([0.3, 0.3, 0.3, 0.6])
    with pytest.raises(UserError, match=r"recipe.warmup_factor: does nothing with warmup 0.0"):
        resolve_recipe(component("hybrid", warmup_factor=0.5))


@pytest.mark.parametrize("epochs", [1, 2, 3, 5])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_short_budgets_have_a_rate_above_zero_in_every_epoch(epochs: int, warmup: float) -> None:
    recipe = Recipe(lr=0.1, schedule="cosine", warmup=warmup)
    rates = [compute_learning_rate(recipe, epoch, epochs) for epoch in range(1, epochs + 1)]
    assert all(0 < rate <= 0.1 for rate in rates) and max(rates) == pytest.approx(0.1)


def test_milestones_survive_floating_point() -> None:
    recipe = Recipe(schedule="step", milestones=(0.7,), factor=0.1)  # 0.7 * 10 == 7.000000000000001 in some orders
    assert [compute_learning_rate(recipe, epoch, 10) for epoch in (7, 8)] == pytest.approx([0.1, 0.01])


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
            assert knob.parse_value(getattr(recipe, name)) == getattr(recipe, name)


def test_overrides_and_hyperparameters() -> None:
    recipe = resolve_recipe(component("sire", lr=1, epochs=3), freeze_settings({"lr": 0.05, "sire.lambda": 0.1}))
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
        (component("sire", test_crops=10), "recipe.test_crops: needs random_resized_crop"),
        (component("imagenet", test_crops=5), "must be one of 1, 10, not 5"),
        (component("gradient", momentum=0.9), "does nothing with optimizer adam"),
        (component("gradient", factor=0.5), "does nothing with schedule constant"),
        (component("gradient", schedule="step"), "needs milestones"),
        (component("gradient", warmup=0.1), "does nothing with schedule constant"),
        (component("sire", warmup=0.6), "must be within 0 .. 0.5"),
        (component("sire", schedule="cosine", milestones=[0.5]), "milestones: does nothing with schedule cosine"),
        (component("sire", augment=False, flip=True), "flip: does nothing with augment false"),
        (component("sire", weight_decay=0.0, decay="weights"), "decay: does nothing with weight_decay 0.0"),
    ],
)
def test_refusals_are_sentences(given: Component, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve_recipe(given)


def test_a_searched_knob_that_does_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="does nothing with optimizer adam"):
        resolve_recipe(component("gradient"), freeze_settings({"momentum": 0.9}))
    with pytest.raises(UserError, match="needs a momentum"):
        resolve_recipe(component("sire"), freeze_settings({"momentum": 0.0}))


@pytest.mark.parametrize(
    ("study", "changes"),
    [
        (component("sire", flip=True, pad=4), {"augment": False}),
        (component("sire", milestones=[0.5], factor=0.1), {"schedule": "constant"}),
        (component("cnn_improved", decay="all"), {"weight_decay": 0.0}),
        (component("sire", momentum=0.8), {"optimizer": "adam"}),
    ],
)
def test_a_variant_may_take_away_what_the_study_sets(study: Component, changes: dict[str, object]) -> None:
    """Else `no_augmentation` would be refused in every study that says how it augments."""
    recipe = resolve_recipe(study, freeze_settings(changes))
    assert {name: getattr(recipe, name) for name in changes} == changes
    knob, _ = study.settings[0]
    assert knob in find_idle_knobs(recipe, changes) and not find_idle_knobs(recipe, ())
    with pytest.raises(UserError, match="does nothing with"):
        resolve_recipe(
            study, freeze_settings({**changes, **dict(study.settings)})
        )  # what is chosen together must work together


def test_the_budget_cant_be_searched() -> None:
    with pytest.raises(UserError, match="same budget"):
        resolve_recipe(component("sire"), freeze_settings({"epochs": 3}))


def test_canonical_leaves_out_what_the_recipe_says_anyway() -> None:
    assert canonicalize_recipe(component("sire", lr=0.1, milestones=[0.3, 0.6, 0.8], batch=32)) == component(
        "sire", batch=32
    )
    assert canonicalize_recipe(component("gradient", flip=False)) == component("gradient")
    assert canonicalize_recipe(component("sire_1280", train_limit=0)) == component("sire_1280", train_limit=0)


class Scale(nn.Module):
    """A matrix that no penalty should touch."""

    undecayed = ("stride",)

    def __init__(self) -> None:
        super().__init__()
        self.stride = nn.Parameter(torch.ones(2, 2))
        self.weight = nn.Parameter(torch.ones(2, 2))


def penalties(recipe: Recipe, model: nn.Module) -> dict[str, float]:
    """What each trained parameter's weight decay is."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = build_optimizer(recipe, model, torch.device("cpu")).param_groups
    found = [(names[parameter], group["weight_decay"]) for group in groups for parameter in group["params"]]
    assert len(found) == len(dict(found)), "every parameter stands in one group"
    return dict(found)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_decay_of_weights_spares_biases_and_normalisation(optimizer: Literal["sgd", "adam"]) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    recipe = Recipe(optimizer=optimizer, weight_decay=0.1, decay="weights")
    spared = dict.fromkeys(("0.bias", "1.weight", "1.bias", "2.bias"), 0.0)
    assert penalties(recipe, model) == {"0.weight": 0.1, "2.weight": 0.1, **spared}
    everything = penalties(dataclasses.replace(recipe, decay="all"), model)
    assert everything == dict.fromkeys(dict(model.named_parameters()), 0.1)


def test_a_layer_names_what_is_not_decayed() -> None:
    model = nn.Sequential(Scale(), nn.Linear(2, 2))
    own = {"0.stride": 0.0, "0.weight": 0.1, "1.weight": 0.1}
    assert penalties(Recipe(weight_decay=0.1), model) == {**own, "1.bias": 0.1}
    assert penalties(Recipe(weight_decay=0.1, decay="weights"), model) == {**own, "1.bias": 0.0}


def test_what_is_frozen_is_in_no_group_and_no_group_is_empty() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    model[0].requires_grad_(False)
    assert penalties(Recipe(weight_decay=0.1, decay="weights"), model) == {"1.weight": 0.1}
    optimizer = build_optimizer(Recipe(weight_decay=0.1, decay="weights"), model, torch.device("cpu"))
    assert len(optimizer.param_groups) == 1


def test_the_penalty_acts_on_what_is_decayed_alone() -> None:
    model = nn.Sequential(Scale(), nn.Linear(2, 2))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = build_optimizer(Recipe(lr=0.5, weight_decay=0.1, decay="weights"), model, torch.device("cpu"))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    factors = {"0.stride": 1.0, "0.weight": 0.95, "1.weight": 0.95, "1.bias": 1.0}
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, factors[name] * before[name])


def test_planning_needs_no_torch() -> None:
    rooms = "suite.core.recipes, suite.training.outcome, suite.core.provenance"
    code = f"import sys, {rooms}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
