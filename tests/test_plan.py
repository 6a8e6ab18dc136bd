"""The plan: a pure function of the study, fair by construction, and quick because nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from suite.config import parse_study
from suite.plan import Conditions, Plan, make_plan
from suite.settings import Refused
from suite.specs import Component, freeze

GRID: dict[str, Any] = {
    "study": "grid",
    "datasets": ["digits", "mnist"],
    "backbones": [{"name": "base_cnn", "width": [0.25, 0.5]}, "gradient_cnn"],
    "variants": ["baseline", {"name": "sire", "lambda": [0.1, 0.2]}, "image_gradient"],
    "recipe": {"name": "gradient", "epochs": 8},
    "seeds": 3,
    "search": {
        "trials": 5,
        "epochs": 4,
        "space": {
            "lr": {"low": 1e-4, "high": 1e-2, "log": True},
            "weight_decay": {"choices": [0.0, 1e-4]},
            "sire.components": {"choices": ["SIRe", "I"]},
        },
    },
}


def plan(**changes: Any) -> Plan:
    return make_plan(parse_study({**GRID, **changes}))


def test_a_study_is_the_product_of_its_lists_in_their_order() -> None:
    cells = [planned.cell for planned in plan().cells]
    assert len(cells) == 2 * 3 * 4
    assert [cell.dataset.name for cell in cells] == ["digits"] * 12 + ["mnist"] * 12
    labels = [f"{cell.backbone.label} {cell.variant.label}" for cell in cells[:12]]
    variants = ["baseline", "sire(lambda=0.1)", "sire(lambda=0.2)", "image_gradient"]
    backbones = ["base_cnn(width=0.25)", "base_cnn(width=0.5)", "gradient_cnn"]
    assert labels == [f"{backbone} {variant}" for backbone in backbones for variant in variants]
    assert len({cell.group for cell in cells}) == 6
    assert sum(cell.is_baseline for cell in cells) == 6, "one baseline per group"


def test_every_training_is_counted() -> None:
    assert plan().trials == 24 * (5 + 3)
    assert plan(search={}).trials == 24 * 3


def test_the_same_study_gives_the_same_plan() -> None:
    assert plan() == plan()


def test_the_recipe_keeps_only_what_differs() -> None:
    found = plan(recipe={"name": "gradient", "epochs": 8, "lr": 1e-3, "optimizer": "adam"})
    assert found.recipe == Component("gradient", freeze({"epochs": 8}))
    assert (found.epochs, found.search_epochs, found.batch) == (8, 4, 128)
    assert plan(search={}).search_epochs == 8


def test_a_cell_searches_its_own_variant_and_nothing_that_it_sets() -> None:
    spaces = {planned.cell.variant.label: [name for name, _ in planned.space] for planned in plan().cells}
    assert spaces == {
        "baseline": ["lr", "weight_decay"],
        "image_gradient": ["lr", "weight_decay"],
        "sire(lambda=0.1)": ["lr", "sire.components", "weight_decay"],
        "sire(lambda=0.2)": ["lr", "sire.components", "weight_decay"],
    }
    fixed = plan(variants=["baseline", "sire", {"name": "sire", "components": "I"}])
    assert [len(planned.space) for planned in fixed.cells[:3]] == [2, 3, 2]


def test_budgets_are_equal_and_first_draws_shared() -> None:
    """The comparison is fair only when every cell of a group gets the same trials on the same first points."""
    found, conditions = plan(), Conditions("bf16", channels_last=True, micro_batch=16)
    for index in range(5):
        draws = [dict(found.first_draws(planned, index)) for planned in found.cells]
        for name in ("lr", "weight_decay", "sire.components"):
            assert len({draw[name] for draw in draws if name in draw}) == 1, name
    assert len({dict(found.first_draws(found.cells[0], index))["lr"] for index in range(5)}) == 5
    trials = [found.search_trial(planned.cell, 1, (), conditions) for planned in found.cells]
    assert {(trial.stage, trial.seed, trial.epochs) for trial in trials} == {("search", 1, 4)}
    for planned in found.cells:
        confirm = found.confirm_trials(planned.cell, freeze({"lr": 0.1}), conditions)
        assert [(trial.stage, trial.seed, trial.epochs) for trial in confirm] == [("confirm", n, 8) for n in range(3)]
        assert all(trial.precision == "bf16" and trial.channels_last and trial.micro_batch == 16 for trial in confirm)


def test_split_options_reach_every_trial() -> None:
    found = plan(split_seed=7, resplit=True)
    trial = found.confirm_trials(found.cells[0].cell, (), Conditions())[0]
    assert (trial.split_seed, trial.resplit) == (7, True)


def test_more_seeds_keep_the_keys_of_the_first() -> None:
    few, many = plan(seeds=2), plan(seeds=4)
    for planned in few.cells:
        keys = [trial.key for trial in few.confirm_trials(planned.cell, (), Conditions())]
        assert keys == [trial.key for trial in many.confirm_trials(planned.cell, (), Conditions())][:2]


LR = {"low": 0.1, "high": 1}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"variants": ["baseline", "sire", "sire"]}, "variants[2]: sire stands twice; remove the repeated"),
        ({"datasets": ["digits", "digits"]}, "datasets[1]: digits stands twice"),
        (
            {"variants": ["baseline", {"name": "sire", "lambda": [0.1, 0.1]}]},
            "variants[1]: sire(lambda=0.1) stands twice",
        ),
        (
            {"search": {"trials": 1, "space": {"epochs": {"low": 1, "high": 3}}}},
            "search.space.epochs: every cell of a group must have the same epochs; set it under recipe instead",
        ),
        ({"search": {"trials": 1, "space": {"validation": LR}}}, "search.space.validation: every cell of a group"),
        (
            {"search": {"trials": 1, "space": {"batch": {"choices": [8, 16]}}}},
            "search.space.batch: every cell of a group",
        ),
        (
            {"search": {"trials": 1, "space": {"lr": LR}, "epochs": 4, "asha": {"grace": 4}}},
            "search.asha.grace: 4 of 4 search epochs stops nothing; choose less than 4, or leave asha out",
        ),
        (
            {"search": {"trials": 1, "space": {"lr": LR}, "asha": {"grace": 9}}},
            "search.asha.grace: 9 of 8 search epochs stops nothing",
        ),
        ({"search": {"trials": 1, "space": {"lamda": LR}}}, "search.space.lamda: unknown hyperparameter; "),
        (
            {"search": {"trials": 1, "space": {"wide.factor": LR}}},
            "search.space.wide.factor: the study has no variant 'wide'; known: baseline, image_gradient, sire",
        ),
        (
            {"search": {"trials": 1, "space": {"lr": LR, "sire.lambda": LR}}},
            "search.space.sire.lambda: every cell sets it itself, so no search would use it",
        ),
    ],
)
def test_refusals(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused) as refusal:
        plan(**changes)
    assert str(refusal.value).startswith(sentence)


def test_planning_imports_nothing_heavy() -> None:
    """Import rules that the linter can't see, since the registry imports by name; in a fresh interpreter."""
    code = f"""
import suite.config, suite.plan, suite.specs, suite.records, suite.registry, suite.settings, sys
suite.plan.make_plan(suite.config.parse_study({GRID!r}))
for kind in ("dataset", "backbone", "variant"):
    assert suite.registry.available(kind)
heavy = {{"torch", "torchvision", "timm", "ray", "optuna", "mlflow", "numpy", "pandas", "sklearn"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_analysis_never_imports_torch() -> None:
    code = """
import importlib, pathlib, sys, analysis
for path in pathlib.Path(analysis.__file__).parent.glob("*.py"):
    importlib.import_module(f"analysis.{path.stem}")
heavy = {"torch", "torchvision", "timm", "ray", "optuna"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
