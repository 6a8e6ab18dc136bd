"""The check between plan and run: canonical cells, refused pairs, spaces, costs, data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.core.errors import UserError
from suite.core.recipes import resolve_recipe
from suite.core.settings import Setting
from suite.core.specs import Space, Trial
from suite.study.check import _check_space, check_plan
from suite.study.config import parse_study
from suite.study.plan import ExecutionConfig, Plan, PlannedCell, group_label, make_plan
from suite.sweep.scheduler import TrialScheduler
from suite.sweep.search import CellSearch
from suite.training.outcome import partial_record
from suite.variants import sire

STUDY: dict[str, Any] = {
    "study": "checked",
    "datasets": ["digits"],
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", "sire"],
    "recipe": "gradient",
    "seeds": 2,
}
NOWHERE = Path("/nonexistent/data")
TOO_DEEP = {"name": "sire", "decoders": 4}  # gradient_cnn has one downsampling step


def checked(*, strict: bool = False, data: Path = NOWHERE, **changes: Any) -> Plan:
    return check_plan(make_plan(parse_study({**STUDY, **changes})), data, strict=strict)


def search(space: Any, name: str = "lr", **changes: Any) -> dict[str, Any]:
    return {"search": {"trials": 2, "space": {name: space}}, **changes}


def keys(plan: Plan) -> list[str]:
    return [trial.key for cell in plan.cells for trial in plan.confirm_trials(cell.cell, (), ExecutionConfig())]


def test_a_default_that_is_written_out_changes_nothing() -> None:
    plain = checked()
    written = checked(
        datasets=[{"name": "digits", "size": 16}],
        backbones=[{"name": "gradient_cnn", "net": "auto", "dropout": 0.2}],
        variants=["baseline", {"name": "sire", "lambda": 0.2, "decoders": "all", "components": "SIRe"}],
        recipe={"name": "gradient", "epochs": 30, "lr": 0.001},
    )
    assert [planned.cell for planned in written.cells] == [planned.cell for planned in plain.cells]
    assert keys(written) == keys(plain)


def test_values_are_canonical() -> None:
    several = checked(variants=["baseline", {"name": "sire", "lambda": [1, 0.5]}]).cells
    assert [dict(planned.cell.variant.settings) for planned in several] == [{}, {"lambda": 1.0}, {"lambda": 0.5}]
    assert type(several[1].cell.variant.settings[0][1]) is float
    one = checked(variants=["baseline", {"name": "sire", "decoders": 1}])
    assert keys(one) == keys(checked(variants=["baseline", {"name": "sire", "decoders": [[1]]}]))


def test_entries_that_mean_the_same_are_repeats() -> None:
    with pytest.raises(UserError, match=r"^variants\[2\]: sire is a duplicate entry"):
        checked(variants=["baseline", "sire", {"name": "sire", "lambda": 0.2}])


def test_a_refused_pair_leaves_the_rest() -> None:
    plan = checked(backbones=["gradient_cnn", "base_cnn"], variants=["baseline", TOO_DEEP])
    refused = [planned for planned in plan.cells if planned.refused]
    assert [planned.cell.label for planned in refused] == ["digits / gradient_cnn / sire(decoders=4)"]
    assert refused[0].refused == (
        "sire.decoders: 4 out of range; this backbone has 1 downsampling step, so choose from 1..1"
    )
    assert (refused[0].parameters, refused[0].macs, refused[0].inference_macs) == (None, None, None)
    assert len(plan.runnable) == 3 and plan.trials == 3 * 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"variants": ["baseline", TOO_DEEP]}, "no variant is left to compare: digits / gradient_cnn / sire(decoders="),
        (
            {"datasets": [{"name": "digits", "size": 8}], "backbones": ["base_cnn"]},
            "digits(size=8) / base_cnn / baseline: base_cnn: needs images of at least 16 x 16 pixels, not 8 x 8",
        ),
        (
            {"variants": ["baseline", "sire", TOO_DEEP], "strict": True},
            "digits / gradient_cnn / sire(decoders=4): sire.decoders: 4 out of range",
        ),
    ],
    ids=["an empty rest", "a refused baseline", "strict"],
)
def test_a_hopeless_study_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        checked(**changes)
    assert str(refusal.value).startswith(sentence)


def test_strict_accepts_what_has_no_refusal() -> None:
    assert checked(strict=True).trials == 4


def test_a_study_of_baselines_alone_is_legal() -> None:
    assert checked(variants=["baseline"]).trials == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"variants": ["baseline", {"name": "sire", "lambda": -1}]},
            "variants[1].lambda: must be a finite number of 0 or more, or one per decoder, not -1",
        ),
        (
            {"variants": ["baseline", {"name": "sire", "lamda": 1}]},
            "variants[1].lamda: unknown setting; did you mean 'lambda'?",
        ),
        ({"variants": ["baseline", {"name": "sire", "lambda": [0.1, "x"]}]}, "variants[1].lambda: must be"),
        ({"variants": [{"name": "baseline", "lr": 1}]}, "variants[0].lr: unknown setting; it has none"),
        (
            {"backbones": ["gradient_cnn", {"name": "base_cnn", "width": 0}]},
            "backbones[1].width: must be within 0.015625 .. 16, not 0",
        ),
        (
            {"backbones": [{"name": "base_cnn", "dropout": "high"}]},
            "backbones[0].dropout: must be a number, not 'high'",
        ),
        ({"datasets": [{"name": "digits", "size": 9}]}, "datasets[0].size: must be one of 8, 16, 24, 32, not 9"),
        ({"datasets": ["parquet"]}, "datasets[0]: parquet.path: name the directory below the data directory"),
        (
            {"datasets": [{"name": "parquet", "path": "cifar"}]},
            "datasets[0]: parquet: the data directory /nonexistent/data doesn't exist",
        ),
        (
            {"recipe": {"name": "gradient", "validation": 1437}},
            "recipe.validation: holding out 1437 of the 1438 training images of digits leaves nothing to train on",
        ),
        # spaces
        (search({"low": -1, "high": 1}), "search.space.lr: must be 0 or more, not -1"),
        (search({"choices": ["sdg"]}, "optimizer"), "search.space.optimizer: must be one of sgd, adam, not 'sdg'; did"),
        (search({"low": 0, "high": 1}, "optimizer"), "search.space.optimizer: must be a word, not 0.0"),
        (
            search({"low": 0.1, "high": 1}, "sire.lamda"),
            "search.space.sire.lamda: sire has no setting 'lamda'; it has: ",
        ),
        (search({"choices": [0.1, -1]}, "sire.lambda"), "search.space.sire.lambda: must be a finite number of 0 or"),
        (search({"choices": ["S"]}, "sire.components"), "search.space.sire.components: 'S' has S without I"),
    ],
)
def test_an_illegal_value_is_named_by_its_path(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        checked(**changes)
    assert str(refusal.value).startswith(sentence)


def test_spaces_take_the_type_of_their_hyperparameter() -> None:
    def space(*found: Any) -> Any:
        return checked(**search(*found)).cells[1].space[0][1]

    assert not space({"low": 1, "high": 2}, "lr").integer
    assert space({"choices": [1, 0.5]}, "lr").choices == (1.0, 0.5)
    assert space({"choices": [True, False]}, "flip").choices == (True, False)
    assert space({"choices": [[1], "all"]}, "sire.decoders").choices == ((1,), "all")
    assert type(space({"choices": [1]}, "lr").choices[0]) is float


def test_whole_numbers_are_searched_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sire.SETTINGS, "ce_scale", Setting(2, "", low=1))
    space = _check_space("sire.ce_scale", Space(low=8, high=64))
    assert space.integer
    with pytest.raises(UserError, match=r"^search.space.sire.ce_scale: must be a whole number, not 1.5"):
        _check_space("sire.ce_scale", Space(low=1.5, high=8))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            search({"choices": [[1], [4]]}, "sire.decoders"),
            "search.space.sire.decoders: with sire.decoders=4: sire.decoders: 4 out of range; this backbone has 1",
        ),
        (search({"choices": ["I", "Re"]}, "sire.components"), "search.space.sire.components: with sire.components=Re:"),
        (
            search({"low": 0.1, "high": 0.9}, "momentum"),
            "search.space.momentum: with momentum=0.1: recipe.momentum: does nothing with optimizer adam; leave it out",
        ),
        (
            search({"choices": [0.9, 0.0]}, "momentum", recipe="sire"),
            "search.space.momentum: with momentum=0: recipe.nesterov: needs a momentum above 0",
        ),
        (
            {
                "recipe": "sire",
                "search": {
                    "trials": 1,
                    "space": {"momentum": {"choices": [0.9, 0.5]}, "optimizer": {"choices": ["sgd", "adam"]}},
                },
            },
            "search.space.momentum: with momentum=0.9, optimizer=adam: recipe.momentum: does nothing with optimizer",
        ),
        (
            {
                "backbones": [{"name": "base_cnn", "width": 0.05}],
                "search": {
                    "trials": 1,
                    "space": {
                        "lr": {"low": 0.1, "high": 1},
                        "sire.components": {"choices": ["I", "Re"]},
                        "sire.lambda": {"low": 0.3, "high": 0.4},
                    },
                },
            },
            "search.space.sire.components: with sire.components=Re, sire.lambda=0.3: sire.lambda: weighs decoders",
        ),
    ],
)
def test_a_space_that_training_would_refuse_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        checked(**changes)
    assert str(refusal.value).startswith(sentence)


def test_knobs_that_are_legal_together_pass() -> None:
    space = {"momentum": {"choices": [0.9, 0.5]}, "nesterov": {"choices": [True, False]}}
    plan = checked(recipe={"name": "gradient", "optimizer": "sgd"}, search={"trials": 1, "space": space})
    assert len(plan.runnable) == 2


@pytest.mark.parametrize("low", [0.1, 0.2])
def test_a_cell_that_cant_serve_a_space_which_another_serves_is_a_refused_pair(low: float) -> None:
    variants = ["baseline", "sire", {"name": "sire", "components": "Re"}]
    found = search({"low": low, "high": 0.4}, "sire.lambda", backbones=[{"name": "base_cnn", "width": 0.05}])
    plan = checked(variants=variants, **found)
    assert [bool(planned.refused) for planned in plan.cells] == [False, False, True]
    assert "sire.lambda: weighs decoders, but components has no I" in str(plan.cells[2].refused)
    assert plan.cells[2].parameters is None
    with pytest.raises(UserError, match="weighs decoders"):
        checked(variants=variants, strict=True, **found)


def by_label(plan: Plan) -> dict[str, PlannedCell]:
    return {planned.cell.label: planned for planned in plan.cells}


def test_counts_are_the_published_ones() -> None:
    """docs/papers.md, sections 1 and 2: exact sums, at the shapes of digits (1 x 32 x 32) and mnist (1 x 28 x 28)."""
    datasets = [{"name": "digits", "size": 32}, "mnist"]
    variants = ["baseline", "sire", "image_gradient"]
    found = by_label(checked(datasets=datasets, backbones=["base_cnn", "gradient_cnn"], variants=variants))
    assert found["mnist / gradient_cnn / baseline"].parameters == 50_938
    assert found["mnist / gradient_cnn / image_gradient"].parameters == 50_938, "the gradient adds no parameters"
    # 7,939,492 with 3 channels and 100 classes: 2 x 9 x 64 weights fewer to one channel, 90 x 1,025 to 10 classes.
    assert found["digits(size=32) / base_cnn / baseline"].parameters == 7_939_492 - 2 * 9 * 64 - 90 * 1025
    for name, planned in found.items():
        plain = found[f"{name.rpartition(' / ')[0]} / baseline"]
        assert planned.macs and planned.inference_macs and plain.macs
        if "sire" in name:
            assert planned.parameters > plain.parameters  # type: ignore[operator]
            assert planned.macs > planned.inference_macs == plain.macs, "decoders run in training only"
        assert planned.decoders == {"base_cnn": 4, "gradient_cnn": 1}[planned.cell.backbone.name] * ("sire" in name)


def test_macs_of_the_small_network_by_hand() -> None:
    """gradient_cnn on 1 x 28 x 28: a 3x3 convolution to 4 maps, dense 784 -> 64 -> 10."""
    found = by_label(checked(datasets=["mnist"]))["mnist / gradient_cnn / baseline"]
    assert found.macs == found.inference_macs == 28 * 28 * 9 * 4 + 14 * 14 * 4 * 64 + 64 * 10


def test_planning_needs_no_images(tmp_path: Path) -> None:
    assert len(checked(datasets=["digits", "mnist", "imagenet"], data=tmp_path).runnable) == 6


def test_a_crop_decides_what_the_network_sees() -> None:
    recipe = {"name": "gradient", "random_resized_crop": 16}
    crop = by_label(checked(datasets=["mnist"], recipe=recipe))["mnist / gradient_cnn / baseline"]
    assert crop.macs == 16 * 16 * 9 * 4 + 8 * 8 * 4 * 64 + 64 * 10


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        (
            {"random_resized_crop": 29},
            "recipe.random_resized_crop: 29 pixels are too many for images of 28; at most 28",
        ),
        ({"cutout": 29}, "recipe.cutout: 29 pixels are too many for images of 28; at most 28"),
        ({"random_resized_crop": 16, "cutout": 17}, "recipe.cutout: 17 pixels are too many for images of 16"),
        ({"pad": 29}, "recipe.pad: 29 pixels are too many for images of 28; at most 28"),
        ({"pad": 2, "random_resized_crop": 16}, "recipe.pad: random_resized_crop crops already"),
        ({"pad": -1}, "recipe.pad: must be 0 or more, not -1"),
        ({"mixup": float("nan")}, "recipe.mixup: must be a finite number"),
    ],
)
def test_augmentation_that_the_images_cant_serve_is_refused(knobs: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        checked(datasets=["mnist"], recipe={"name": "gradient", **knobs})
    assert sentence in str(refusal.value)


def test_a_space_that_the_images_cant_serve_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"search\.space\.cutout: with cutout=40: recipe\.cutout: 40 pixels are too many"
    ):
        checked(datasets=["mnist"], **search({"low": 8, "high": 40}, "cutout"))
    assert checked(datasets=["mnist"], **search({"low": 8, "high": 28}, "cutout")).runnable


# -- variants that change the recipe, and compositions

LOG = {"low": 1e-4, "high": 1e-2, "log": True}


def trials_of(plan: Plan, label: str) -> list[Trial]:
    """The first search trial and the confirm trials of a cell."""
    planned = by_label(plan)[f"digits / gradient_cnn / {label}"]
    chosen = plan.first_draws(planned, 0)
    first = plan.search_trial(planned.cell, 0, chosen, ExecutionConfig())
    return [first, *plan.confirm_trials(planned.cell, first.hyperparameters, ExecutionConfig())]


def test_a_changed_recipe_is_in_every_trial_of_its_cell_alone() -> None:
    search = {"trials": 2, "epochs": 3, "space": {"lr": LOG, "weight_decay": {"low": 0.0, "high": 0.1}}}
    training = {"name": "training", "lr": 0.5, "schedule": "step", "milestones": [[0.5]]}
    recipe = {"name": "gradient", "epochs": 30, "flip": True}
    found = checked(variants=["baseline", training, "no_augmentation"], search=search, recipe=recipe)
    plain = checked(search=search, recipe=recipe)
    changed = trials_of(found, "training(lr=0.5, milestones=0.5, schedule=step)")
    for trial in changed:
        assert {"lr": 0.5, "schedule": "step", "milestones": (0.5,)}.items() <= dict(trial.hyperparameters).items()
        assert trial.recipe == plain.recipe and resolve_recipe(trial.recipe, trial.hyperparameters).lr == 0.5
        record = partial_record(trial, "failed", "made up")
        assert "lr=0.5" in record.hyperparameters and "schedule=step" in record.hyperparameters
    assert [trial.epochs for trial in changed] == [3, 30, 30]
    for trial in trials_of(found, "no_augmentation"):
        assert dict(trial.hyperparameters)["augment"] is False
    assert [trial.key for trial in trials_of(found, "baseline")] == [
        trial.key for trial in trials_of(plain, "baseline")
    ], "the other cells, first draws included, are as without it"


def test_a_searched_knob_that_a_cell_sets_is_searched_in_the_others_only() -> None:
    training = {"name": "training", "lr": 0.5}
    search = {"trials": 2, "space": {"lr": LOG, "weight_decay": {"low": 0.0, "high": 0.1}}}
    found = checked(variants=["baseline", "sire", training], search=search)
    assert [[name for name, _ in planned.space] for planned in found.cells] == [
        ["lr", "weight_decay"],
        ["lr", "weight_decay"],
        ["weight_decay"],
    ]
    draws = [dict(found.first_draws(planned, 1)) for planned in found.cells]
    assert len({draw["weight_decay"] for draw in draws}) == 1 and len({draw.get("lr") for draw in draws}) == 2


def test_a_search_with_nothing_left_to_choose_still_gets_its_trials() -> None:
    found = checked(variants=["baseline", {"name": "training", "lr": 0.5}], search={"trials": 3, "space": {"lr": LOG}})
    search = CellSearch(found, found.cells[1], ExecutionConfig())
    trials = [search.search_trial(index) for index in range(3)]
    assert [dict(trial.hyperparameters) for trial in trials] == [{"lr": 0.5}] * 3
    assert len({trial.key for trial in trials}) == 3


def test_a_resumed_search_knows_trials_with_fixed_knobs() -> None:
    search = {"trials": 4, "first_draws": 1, "space": {"lr": LOG, "weight_decay": {"low": 0.0, "high": 0.1}}}
    found = checked(variants=["baseline", {"name": "training", "lr": 0.5, "epochs": 2}], search=search)
    planned = found.cells[1]
    straight = CellSearch(found, planned, ExecutionConfig())
    first = straight.search_trial(0)
    second = straight.search_trial(1)
    record = partial_record(first, "completed", "", (), validation_top1_error=0.25)
    straight.finish_trial(0, record)
    resumed = CellSearch(found, planned, ExecutionConfig())
    resumed.replay_record(record, first)
    resumed.import_trial(second)
    assert resumed.best_hyperparameters() == first.hyperparameters == straight.best_hyperparameters()
    assert found.search_trial(planned.cell, 1, second.hyperparameters, ExecutionConfig()) == second
    confirmed = found.confirm_trials(planned.cell, first.hyperparameters, ExecutionConfig())
    assert {trial.epochs for trial in confirmed} == {2} and first.epochs == found.search_epochs
    assert partial_record(confirmed[0], "failed", "made up").epochs == 2, "what the audit compares"
    conditions = {group_label(planned.cell): ExecutionConfig()}
    scheduler = TrialScheduler(found, conditions, {first.key: replace(record, trial=first.to_dict())}, [second])
    handed = [scheduler.next_trial() for _ in range(2)]
    assert second in handed and first not in handed


def test_a_budget_that_equals_the_studys_is_no_change() -> None:
    plan = checked(variants=["baseline", {"name": "training", "epochs": 30, "lr": 0.5}])
    assert plan.fixed_knobs(plan.cells[1].cell) == (("lr", 0.5),)
    assert {trial.epochs for trial in plan.confirm_trials(plan.cells[1].cell, (), ExecutionConfig())} == {30}


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        ("training", "training: changes nothing; name at least one knob of optimizer, lr, momentum"),
        ({"name": "training", "momentum": 0.9}, "recipe.momentum: does nothing with optimizer adam; leave it out"),
        ({"name": "training", "schedule": "step"}, "recipe.schedule: step needs milestones"),
        (
            {"name": "training", "lr": 0.001},
            "training(lr=0.001): changes nothing, the study's recipe has lr 0.001 already",
        ),
        ("no_augmentation", "no_augmentation: the study's recipe augments nothing; leave it out"),
    ],
)
def test_changes_that_cant_be_served_are_refused_pairs(variant: Any, sentence: str) -> None:
    refused = checked(variants=["baseline", "sire", variant]).cells[2].refused
    assert refused and refused.startswith(sentence)


def test_a_knob_that_a_cell_names_is_never_searched_there() -> None:
    """Not even where it names the recipe's own value: the cell's label says it."""
    training = {"name": "training", "lr": 0.001, "weight_decay": 0.1}
    plan = checked(variants=["baseline", training], search={"trials": 1, "space": {"lr": LOG}})
    assert [[name for name, _ in planned.space] for planned in plan.cells] == [["lr"], []]
    assert dict(plan.fixed_knobs(plan.cells[1].cell)) == {"lr": 0.001, "weight_decay": 0.1}


def test_no_augmentation_goes_with_a_recipe_that_says_how_it_augments() -> None:
    plan = checked(variants=["baseline", "no_augmentation"], recipe={"name": "gradient", "flip": True, "pad": 2})
    assert [planned.refused for planned in plan.cells] == [None, None]
    assert plan.fixed_knobs(plan.cells[1].cell) == (("augment", False),)


def test_compositions_are_one_cell_in_any_order() -> None:
    one = checked(variants=["baseline", {"name": "sire+squeeze_excite", "sire.lambda": 0.3}])
    other = checked(variants=["baseline", {"name": "squeeze_excite+sire", "sire.lambda": 0.3, "sire.decoders": "all"}])
    assert keys(one) == keys(other)
    assert one.cells[1].cell.variant.name == "squeeze_excite+sire"
    with pytest.raises(UserError, match=r"^variants\[2\]: squeeze_excite\+sire is a duplicate entry"):
        checked(variants=["baseline", "sire+squeeze_excite", "squeeze_excite+sire"])
    alone = checked(variants=["baseline", "sire", "squeeze_excite", "sire+squeeze_excite"]).cells
    assert alone[3].parameters == alone[1].parameters + alone[2].parameters - alone[0].parameters  # type: ignore[operator]


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        ("sire+sire", "variants[1]: sire+sire: names a variant twice"),
        ("sire+baseline", "variants[1]: sire+baseline: baseline composes with nothing"),
        ("wide+sire", "variants[1]: wide+sire: wide composes with nothing"),
        ("image_gradient+sire", "variants[1]: image_gradient+sire: image_gradient and sire both replace the forward"),
        ({"name": "sire+squeeze_excite", "sire.lamda": 1}, "variants[1].sire.lamda: unknown setting; did you mean"),
        ({"name": "sire+squeeze_excite", "lambda": 1}, "variants[1].lambda: unknown setting; did you mean"),
    ],
)
def test_wrong_compositions_are_refused_by_their_path(variant: Any, sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        checked(variants=["baseline", variant])
    assert str(refusal.value).startswith(sentence)


def test_a_space_of_a_part_serves_it_alone_and_composed() -> None:
    space = {"sire.lambda": {"low": 0.1, "high": 0.4}}
    found = checked(
        variants=["baseline", "sire", "squeeze_excite+sire"], search={"trials": 1, "space": space, "epochs": 2}
    )
    assert [bool(planned.refused) for planned in found.cells] == [False] * 3
    draws = [dict(found.first_draws(planned, 0)) for planned in found.cells]
    assert draws[0] == {} and draws[1] == draws[2] and 0.1 <= draws[1]["sire.lambda"] <= 0.4


def test_a_variant_for_some_backbones_stays_with_them() -> None:
    restricted = {"name": "sire", "lambda": 0.2, "backbones": ["base_cnn"]}
    found = checked(backbones=["gradient_cnn", {"name": "base_cnn", "width": 0.1}], variants=["baseline", restricted])
    assert list(by_label(found)) == [
        "digits / gradient_cnn / baseline",
        "digits / base_cnn(width=0.1) / baseline",
        "digits / base_cnn(width=0.1) / sire",
    ]


def test_a_knob_that_a_variant_leaves_without_effect_is_not_searched_there() -> None:
    """Every trial of the cell would be refused otherwise."""
    variants = ["baseline", "no_augmentation", {"name": "training", "optimizer": "adam", "flip": True}]
    space = {"mixup": {"low": 0.1, "high": 1.0}, "momentum": {"low": 0.5, "high": 0.9}}
    found = checked(recipe="sire", variants=variants, search={"trials": 1, "space": space})
    assert [[name for name, _ in planned.space] for planned in found.cells] == [
        ["mixup", "momentum"],
        ["momentum"],
        ["mixup"],
    ]
    for planned in found.cells:
        trial = found.search_trial(planned.cell, 0, found.first_draws(planned, 0), ExecutionConfig())
        assert resolve_recipe(trial.recipe, trial.hyperparameters)
