"""What one trial takes: against values computed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from suite.core.recipes import Recipe
from suite.data.source import DatasetInfo
from suite.price import costs
from suite.price.costs import ImageCounts, NetworkTiming, TrialCost, cost_trial, count_images, measure_disk_space
from suite.study.config import parse_study
from suite.study.plan import Plan, PlannedCell, make_plan
from suite.training import predictions

INFO = DatasetInfo(
    title="Made",
    classes=10,
    shape=(1, 8, 8),
    train_examples=120,
    test_examples=50,
    validation=20,
    mean=None,
    std=None,
    licence="none",
    source="here",
)
TIMING = NetworkTiming(start=2.0, train_image=0.01, evaluated_image=0.001, save=0.5, steps=20)


def plan(**changes: Any) -> Plan:
    study = {"study": "priced", "datasets": ["digits"], "backbones": ["gradient_cnn"], "variants": ["baseline"]}
    return make_plan(parse_study({**study, "recipe": "gradient", "seeds": 2, **changes}))


@pytest.mark.parametrize(
    ("recipe", "counts"),
    [
        (Recipe(), (100, 20, 50)),
        (Recipe(validation=30), (90, 30, 50)),
        (Recipe(train_limit=64), (64, 20, 50)),
        (Recipe(train_limit=500), (100, 20, 50)),
    ],
)
def test_images(recipe: Recipe, counts: tuple[int, int, int]) -> None:
    assert count_images(INFO, recipe) == counts


@pytest.mark.parametrize(
    ("recipe", "passes"), [(Recipe(), 1), (Recipe(test_crops=10), 11), (Recipe(test_curve=True, epochs=3), 4)]
)
def test_a_trial_by_its_networks_timing(recipe: Recipe, passes: int) -> None:
    cost = cost_trial(TIMING, ImageCounts(100, 20, 50), recipe)
    assert cost.start == 2.0
    assert cost.epoch == pytest.approx(100 * 0.01 + 20 * 0.001 + 0.5)
    assert cost.test == pytest.approx(passes * 50 * 0.001)


def test_search_trials_read_no_test_images() -> None:
    cost = TrialCost(start=1.0, epoch=2.0, test=4.0)
    assert cost.compute_seconds("search", 5) == 11.0
    assert cost.compute_seconds("confirm", 5) == 15.0
    assert cost.scale(3.0) == TrialCost(1.0, 6.0, 12.0)


def test_a_variants_own_recipe_is_that_of_its_cells() -> None:
    planned = PlannedCell(plan().cells[0].cell, fixed=(("batch", 16), ("epochs", 7)))
    recipe = costs.resolve_cell_recipe(plan(), planned)
    assert (recipe.batch, recipe.epochs, recipe.optimizer) == (16, 7, "adam")


def test_disk_space() -> None:
    planned = replace(plan().cells[0], parameters=1000)
    record, tracking = 6500 + 10 * 700, 17_000 + 10 * 3000
    search = measure_disk_space(plan(), planned, "search", 10, INFO)
    assert search == (4000, record + tracking)
    confirm = measure_disk_space(plan(), planned, "confirm", 10, INFO)
    assert confirm == (4000, record + tracking + 2 * (3000 + 50 * (4 + 2 * 10)))
    without = plan(keep="none", probabilities="none")
    assert measure_disk_space(without, planned, "confirm", 10, INFO) == (0, record + tracking + 2 * (3000 + 50 * 4))


def test_probabilities_are_kept_as_trials_keep_them() -> None:
    """The constant is that of a module that imports torch."""
    assert costs.AFFORDABLE == predictions.AFFORDABLE
    planned, many = plan().cells[0], replace(INFO, classes=1000, test_examples=10_001)
    large, small = (
        measure_disk_space(plan(probabilities=wanted), planned, "confirm", 1, many).others for wanted in ("all", "auto")
    )
    assert large - small == 2 * 10_001 * 2000
