"""The plan: a pure function of the study, fair by construction, and quick because nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from suite.core.errors import UserError
from suite.core.specs import Component, freeze_settings
from suite.study.config import parse_study
from suite.study.plan import ExecutionConfig, Plan, make_plan, with_cells

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
    assert found.recipe == Component("gradient", freeze_settings({"epochs": 8}))
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
    found, conditions = plan(), ExecutionConfig("bf16", channels_last=True, micro_batch=16)
    for index in range(5):
        draws = [dict(found.first_draws(planned, index)) for planned in found.cells]
        for name in ("lr", "weight_decay", "sire.components"):
            assert len({draw[name] for draw in draws if name in draw}) == 1, name
    assert len({dict(found.first_draws(found.cells[0], index))["lr"] for index in range(5)}) == 5
    trials = [found.search_trial(planned.cell, 1, (), conditions) for planned in found.cells]
    assert {(trial.stage, trial.seed, trial.epochs) for trial in trials} == {("search", 1, 4)}
    for planned in found.cells:
        confirm = found.confirm_trials(planned.cell, freeze_settings({"lr": 0.1}), conditions)
        assert [(trial.stage, trial.seed, trial.epochs) for trial in confirm] == [("confirm", n, 8) for n in range(3)]
        assert all(trial.precision == "bf16" and trial.channels_last and trial.micro_batch == 16 for trial in confirm)


def test_split_options_reach_every_trial() -> None:
    found = plan(split_seed=7, resplit=True)
    trial = found.confirm_trials(found.cells[0].cell, (), ExecutionConfig())[0]
    assert (trial.split_seed, trial.resplit) == (7, True)


def test_more_seeds_keep_the_keys_of_the_first() -> None:
    few, many = plan(seeds=2), plan(seeds=4)
    for planned in few.cells:
        keys = [trial.key for trial in few.confirm_trials(planned.cell, (), ExecutionConfig())]
        assert keys == [trial.key for trial in many.confirm_trials(planned.cell, (), ExecutionConfig())][:2]


def test_a_variant_can_be_for_some_backbones_only() -> None:
    """SIRe's lambda is 0.2, but 0.21 for ResNets."""
    variants = [
        "baseline",
        {"name": "sire", "backbones": ["base_cnn"]},
        {"name": "sire", "lambda": [0.21, 0.3], "backbones": ["gradient_cnn"]},
        "image_gradient",
    ]
    labels = [f"{one.cell.backbone.label} {one.cell.variant.label}" for one in plan(variants=variants).cells[:11]]
    assert labels == [
        "base_cnn(width=0.25) baseline",
        "base_cnn(width=0.25) sire",
        "base_cnn(width=0.25) image_gradient",
        "base_cnn(width=0.5) baseline",
        "base_cnn(width=0.5) sire",
        "base_cnn(width=0.5) image_gradient",
        "gradient_cnn baseline",
        "gradient_cnn sire(lambda=0.21)",
        "gradient_cnn sire(lambda=0.3)",
        "gradient_cnn image_gradient",
        "base_cnn(width=0.25) baseline",
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"variants": ["baseline", {"name": "sire", "backbones": ["base_cn"]}]},
            "sire.backbones: the study has no 'base_cn'; did you mean 'base_cnn'?",
        ),
        (
            {"variants": [{"name": "baseline", "backbones": ["base_cnn"]}]},
            "baseline.backbones: every backbone needs its baseline; leave it out",
        ),
        (
            {"datasets": [{"name": "digits", "backbones": ["base_cnn"]}]},
            "digits.backbones: only a variant can be restricted to some backbones",
        ),
        ({"recipe": {"name": "gradient", "backbones": ["base_cnn"]}}, "gradient.backbones: only a variant can be"),
    ],
)
def test_wrong_restrictions_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        plan(**changes)
    assert sentence in str(refusal.value)


def test_a_composition_searches_the_settings_of_its_parts() -> None:
    composed = {"name": "sire+squeeze_excite", "sire.lambda": 0.3}
    space = dict.fromkeys(("lr", "sire.lambda", "squeeze_excite.reduction"), LR)
    found = plan(variants=["baseline", "sire", composed], search={"trials": 1, "space": space})
    names = {one.cell.variant.name: [name for name, _ in one.space] for one in found.cells}
    assert names == {
        "baseline": ["lr"],
        "sire": ["lr", "sire.lambda"],
        "sire+squeeze_excite": ["lr", "squeeze_excite.reduction"],
    }


def test_what_a_variant_sets_is_in_all_its_trials_and_in_no_others() -> None:
    """As the check leaves the plan: `fixed` by cell."""
    search = {"trials": 1, "space": {"lr": LR, "weight_decay": LR}}
    plain = plan(variants=["baseline", "training"], search=search)
    fixed = freeze_settings({"lr": 0.5, "epochs": 3})
    cells = [replace(one, fixed=() if one.cell.is_baseline else fixed) for one in plain.cells]
    found, conditions = with_cells(plain, cells), ExecutionConfig()
    baseline, training = (one.cell for one in cells[:2])
    trials = [found.search_trial(training, 0, freeze_settings({"weight_decay": 0.0}), conditions)]
    trials += found.confirm_trials(training, freeze_settings({"weight_decay": 0.0}), conditions)
    assert all(dict(trial.hyperparameters) == {"lr": 0.5, "weight_decay": 0.0} for trial in trials)
    assert [trial.epochs for trial in trials] == [8, 3, 3, 3], "its own budget where it is tested; searches stay equal"
    untouched = found.confirm_trials(baseline, (), conditions)
    assert [trial.key for trial in untouched] == [trial.key for trial in plain.confirm_trials(baseline, (), conditions)]
    assert all(not trial.hyperparameters and trial.epochs == 8 for trial in untouched)


LR = {"low": 0.1, "high": 1}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"variants": ["baseline", "sire", "sire"]}, "variants[2]: sire is a duplicate entry; remove the repeated"),
        ({"datasets": ["digits", "digits"]}, "datasets[1]: digits is a duplicate entry"),
        (
            {"variants": ["baseline", {"name": "sire", "lambda": [0.1, 0.1]}]},
            "variants[1]: sire(lambda=0.1) is a duplicate entry",
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
    with pytest.raises(UserError) as refusal:
        plan(**changes)
    assert str(refusal.value).startswith(sentence)


def test_planning_imports_nothing_heavy() -> None:
    """Import rules that the linter can't see, since the registry imports by name; in a fresh interpreter."""
    code = f"""
import suite.study.config, suite.study.plan, suite.core.specs, suite.core.records, suite.core.registry
import suite.core.settings, sys
suite.study.plan.make_plan(suite.study.config.parse_study({GRID!r}))
for kind in ("dataset", "backbone", "variant"):
    assert suite.core.registry.list_components(kind)
heavy = {{"torch", "torchvision", "timm", "ray", "optuna", "mlflow", "numpy", "pandas", "sklearn"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_analysis_never_imports_torch() -> None:
    code = """
import importlib, pathlib, sys, analysis
root = pathlib.Path(analysis.__file__).parents[1]
for path in (root / "analysis").rglob("[!_]*.py"):
    importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
heavy = {"torch", "torchvision", "timm", "ray", "optuna"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
