"""What names a trial: pinned keys, JSON round trips, seed streams, spaces."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from suite.core.specs import (
    Cell,
    Component,
    Space,
    Streams,
    Trial,
    first_draw,
    format_label,
    format_settings,
    freeze_settings,
    hash_parts,
    parse_label,
    parse_settings,
    split_stream,
    trial_key,
)

PLAIN = Trial(
    cell=Cell(Component("mnist"), Component("gradient_cnn"), Component("baseline")),
    recipe=Component("gradient"),
    stage="confirm",
    seed=0,
    epochs=30,
)
SEARCHED = Trial(
    cell=Cell(
        Component("digits"),
        Component("base_cnn", freeze_settings({"width": 0.25})),
        Component("sire", freeze_settings({"lambda": 0.1, "decoders": [1, 4]})),
    ),
    recipe=Component("gradient", freeze_settings({"batch": 64})),
    stage="search",
    seed=3,
    epochs=8,
    hyperparameters=freeze_settings({"sire.lambda": 0.3, "lr": 0.001}),
)
CONDITIONED = replace(SEARCHED, stage="confirm", precision="bf16", channels_last=True, micro_batch=16)
RESPLIT = replace(PLAIN, split_seed=7, resplit=True)
GOLDEN = {
    "f96f1e7756d61b3f": PLAIN,
    "90e7345f6ce50657": SEARCHED,
    "7c35134d4117ca3a": CONDITIONED,
    "040a361df41192dd": RESPLIT,
}


@pytest.mark.parametrize(("key", "trial"), GOLDEN.items())
def test_keys_never_change(key: str, trial: Trial) -> None:
    """A changed key would train every finished trial of every user again."""
    assert trial.key == trial_key(trial) == key


@pytest.mark.parametrize("trial", GOLDEN.values())
def test_a_trial_survives_json(trial: Trial) -> None:
    read = Trial.from_dict(json.loads(json.dumps(trial.to_dict())))
    assert read == trial and hash(read) == hash(trial) and read.key == trial.key


def test_order_does_not_change_a_key() -> None:
    backwards = json.loads(json.dumps(SEARCHED.to_dict()), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(backwards) == list(SEARCHED.to_dict())[::-1]
    assert Trial.from_dict(backwards).key == SEARCHED.key


def test_defaults_are_left_out() -> None:
    assert PLAIN.to_dict() == {
        "cell": {"dataset": {"name": "mnist"}, "backbone": {"name": "gradient_cnn"}, "variant": {"name": "baseline"}},
        "recipe": {"name": "gradient"},
        "stage": "confirm",
        "seed": 0,
        "epochs": 30,
    }
    said = replace(PLAIN, hyperparameters=(), split_seed=0, resplit=False, precision="float32", micro_batch=None)
    assert said.key == PLAIN.key


@dataclass(frozen=True, kw_only=True)
class TrialOfTomorrow(Trial):
    label_smoothing: float = 0.0


@pytest.mark.parametrize("trial", GOLDEN.values())
def test_a_new_knob_at_its_default_changes_no_key(trial: Trial) -> None:
    fields = {name: getattr(trial, name) for name in Trial.__dataclass_fields__}
    assert TrialOfTomorrow(**fields).key == trial.key
    assert TrialOfTomorrow(**fields, label_smoothing=0.1).key != trial.key


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"stage": "search"},
        {"epochs": 31},
        {"hyperparameters": freeze_settings({"lr": 0.01})},
        {"split_seed": 1},
        {"resplit": True},
        {"precision": "bf16"},
        {"channels_last": True},
        {"micro_batch": 8},
        {"recipe": Component("gradient", freeze_settings({"lr": 0.01}))},
        {"cell": replace(PLAIN.cell, variant=Component("sire"))},
        {"cell": replace(PLAIN.cell, dataset=Component("digits"))},
    ],
)
def test_everything_that_defines_a_trial_is_in_its_key(change: dict[str, Any]) -> None:
    assert replace(PLAIN, **change).key != PLAIN.key


@pytest.mark.parametrize(
    "data", [{}, {"cell": {}}, {**PLAIN.to_dict(), "colour": 1}, {**PLAIN.to_dict(), "recipe": "gradient"}, {"cell": 3}]
)
def test_what_is_no_trial_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a trial"):
        Trial.from_dict(data)


def test_labels() -> None:
    assert PLAIN.cell.label == "mnist / gradient_cnn / baseline"
    assert SEARCHED.cell.label == "digits / base_cnn(width=0.25) / sire(decoders=1+4, lambda=0.1)"


def test_freeze_sorts_and_hashes() -> None:
    assert freeze_settings({"b": [1, [2, 3]], "a": "x"}) == (("a", "x"), ("b", (1, (2, 3))))


def test_streams_differ_by_stage_seed_name_and_epoch_and_by_nothing_else() -> None:
    names = [("init", None), ("init/sire", None), ("order", 1), ("order", 2), ("augmentation", 1), ("dropout", 1)]
    seeds = {
        Streams(stage, seed).seed_of(name, epoch)  # type: ignore[arg-type]
        for stage, seed, (name, epoch) in itertools.product(("search", "confirm"), range(20), names)
    }
    assert len(seeds) == 2 * 20 * len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert set(Streams.__dataclass_fields__) == {"stage", "seed"}, "the cell is in no stream"


def test_streams_never_change() -> None:
    """Equal keys promise equal results, so the seeds behind a key are pinned too."""
    assert Streams("search", 0).seed_of("init") == 2357251790172514807
    assert Streams("confirm", 0).seed_of("order", 3) == 643515662076744955
    assert hash_parts("a", 1) == hash_parts("a/1") != hash_parts("a", 2)


def test_one_split_per_study_or_one_per_seed() -> None:
    def splits(**changes: Any) -> list[int]:
        return [split_stream(replace(PLAIN, seed=seed, **changes)) for seed in range(3)]

    assert len(set(splits())) == 1 and set(splits()) != set(splits(split_seed=1))
    assert len(set(splits(resplit=True) + splits(resplit=True, stage="search"))) == 6
    other = replace(SEARCHED, stage="confirm", seed=1, resplit=True)
    assert split_stream(other) == splits(resplit=True)[1], "paired across the group"


def test_first_draws_are_uniform_and_named() -> None:
    draws = [first_draw("demo", index, "lr") for index in range(500)]
    assert all(0 <= draw < 1 for draw in draws) and len(set(draws)) == 500
    assert abs(sum(draws) / 500 - 0.5) < 4 * (1 / 12 / 500) ** 0.5
    assert first_draw("demo", 0, "lr") == draws[0] == pytest.approx(0.3351259638255947)
    assert first_draw("demo", 0, "batch") != draws[0] != first_draw("other", 0, "lr")


@pytest.mark.parametrize(
    ("space", "values"),
    [
        (Space(low=1.0, high=3.0), [1.0, 2.0, 3.0]),
        (Space(low=1e-4, high=1e-2, log=True), [1e-4, 1e-3, 1e-2]),
        (Space(low=2, high=4, integer=True), [2, 3, 4]),
        (Space(low=1, high=99, log=True, integer=True), [1, 10, 99]),
        (Space(choices=("a", "b", (1, 4))), ["a", "b", (1, 4)]),
    ],
)
def test_a_space_spans_its_range(space: Space, values: list[Any]) -> None:
    last = 1 - 2**-52
    found = [space.value_at(position) for position in (0.0, 0.5, last)]
    assert found == [pytest.approx(value) if isinstance(value, float) else value for value in values]
    assert [type(value) for value in found] == [type(value) for value in values]


def test_no_draw_rounds_to_one_or_leaves_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.core.specs.hash_parts", lambda *_: 2**63 - 1)
    largest = first_draw("demo", 0, "lr")
    assert largest == 1 - 2**-53 < 1
    for position in (largest, 1.0):
        assert Space(choices=(1, 2, 3)).value_at(position) == 3
        for log in (False, True):
            for low, high in ((1, 3), (1, 99), (3, 10**6)):
                assert Space(low=low, high=high, log=log, integer=True).value_at(position) == high
            for least, most in ((0.1, 0.3), (1e-5, 1e-1), (0.1, 0.7)):
                assert Space(low=least, high=most, log=log).value_at(position) <= most


def test_whole_numbers_are_drawn_evenly() -> None:
    drawn = [Space(low=2, high=4, integer=True).value_at(index / 300) for index in range(300)]
    assert [drawn.count(value) for value in (2, 3, 4)] == [100, 100, 100]


def test_an_empty_space_has_no_value() -> None:
    with pytest.raises(ValueError, match="low and high, or choices"):
        Space(low=1.0).value_at(0.5)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("decoders=1+4, lambda=0.1", {"decoders": "1+4", "lambda": "0.1"}),
        ("path=a, b, size=2", {"path": "a, b", "size": "2"}),
        ("sire.lambda=1, label=a=b", {"sire.lambda": "1", "label": "a=b"}),
        ("path=birds (2020)", {"path": "birds (2020)"}),
    ],
)
def test_settings_and_labels_are_read_as_they_are_written(text: str, settings: dict[str, str]) -> None:
    assert parse_settings(text) == settings
    assert parse_label(format_label("sire", text)) == ("sire", settings)
    assert format_settings(tuple(settings.items())) == text


def test_a_cell_has_one_identity_and_one_spelling() -> None:
    cell = Cell(Component("digits"), Component("base_cnn", (("width", 0.25),)), Component("sire", (("lambda", 0.1),)))
    assert cell.cell_id == ("digits", "base_cnn(width=0.25)", "sire", "lambda=0.1")
    assert cell.label == cell.cell_id.label == "digits / base_cnn(width=0.25) / sire(lambda=0.1)"
