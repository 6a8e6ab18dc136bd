"""The budget audit: what is unequal, what is unknown, and what the report says of both."""

from typing import Any

import pytest

from analysis import testing
from analysis.records import model
from analysis.records.arrange import group_cells
from analysis.records.description import StudyDescription
from analysis.records.model import CellResults, Group
from analysis.verdicts import audit

ERRORS = {"baseline": [0.10, 0.11, 0.10], "sire": [0.09, 0.10, 0.09]}


def rows_of(errors: dict[str, list[float]] | None = None) -> list[dict[str, Any]]:
    return testing.trial_rows(errors or ERRORS)


def group_of(rows: list[dict[str, Any]]) -> Group:
    cells = [testing.cell_of(name, "digits", "cnn") for name in dict.fromkeys(row["variant"] for row in rows)]
    (group,) = group_cells(testing.make_records(rows, cells, seeds=3))
    return group


def changed(rows: list[dict[str, Any]], wanted: dict[str, Any], **new: Any) -> list[dict[str, Any]]:
    return [row | new if all(row[name] == value for name, value in wanted.items()) else row for row in rows]


def unequal(rows: list[dict[str, Any]], first_draws: int = 0) -> list[str]:
    cells: dict[str, CellResults] = {cell.variant: cell for cell in group_of(rows).cells}
    return audit.find_unequal(cells["sire"], cells["baseline"], first_draws=first_draws)


def test_equal_budgets() -> None:
    assert unequal(rows_of(), first_draws=4) == []


@pytest.mark.parametrize("field", ["batch", "threads", "precision", "memory_format", "split", "device_kind"])
def test_what_one_side_alone_recorded_is_unequal_what_none_did_is_unknown(field: str) -> None:
    none: Any = None if field in ("batch", "threads") else ""
    assert unequal(changed(rows_of(), {}, **{field: none})) == []
    found = unequal(changed(rows_of(), {"variant": "sire"}, **{field: none}))
    assert any(text.startswith(f"{model.AUDITED[field]} not recorded, baseline ") for text in found)


def stopped(sire: list[int], baseline: list[int]) -> list[dict[str, Any]]:
    rows = rows_of()
    for variant, stops in (("sire", sire), ("baseline", baseline)):
        for seed, epochs in enumerate(stops):
            wanted = {"variant": variant, "stage": "search", "seed": seed}
            rows = changed(rows, wanted, status="stopped", epochs_run=epochs)
    return rows


@pytest.mark.parametrize(
    ("sire", "baseline"), [([1, 1, 3], [3]), ([1], [9]), ([2], []), ([3, 9], [1, 9]), ([2, 4], [8]), ([2], [6])]
)
def test_stops_at_different_rungs_of_one_ladder_are_equal(sire: list[int], baseline: list[int]) -> None:
    assert unequal(stopped(sire, baseline)) == []


@pytest.mark.parametrize(("sire", "baseline"), [([2], [3]), ([1, 3], [2]), ([3], [1, 8])])
def test_stops_that_fit_no_ladder_are_unequal(sire: list[int], baseline: list[int]) -> None:
    (text,) = unequal(stopped(sire, baseline))
    assert text.startswith("search trials were stopped after") and text.endswith("not one set of rungs")


def test_first_draws_must_agree_on_what_both_search() -> None:
    rows = rows_of()
    for seed in range(4):
        wanted = {"variant": "sire", "stage": "search", "seed": seed}
        other = seed + 1 if seed < 2 else 7
        rows = changed(rows, wanted, hyperparameters=f"lr={other}, sire.lambda=0.{seed}")
    assert unequal(rows, first_draws=2) == []  # the sampler drew the others
    assert unequal(rows, first_draws=3) == ["search trial 2 drew lr=7, baseline lr=3"]
    assert unequal(rows) == []  # the study doesn't say how many there are


def test_what_a_variant_sets_itself_is_no_draw() -> None:
    rows = changed(rows_of(), {"variant": "sire", "stage": "search"}, hyperparameters="lr=9")
    assert unequal(rows, first_draws=4) == []


def test_planned_draws() -> None:
    assert audit.count_shared_draws(StudyDescription(first_draws=5, search_trials=3)) == 3
    assert audit.count_shared_draws(StudyDescription(search_trials=3)) == 0


def test_summary_of_an_equal_study() -> None:
    group = group_of(rows_of())
    summary = audit.summarise_audit([group], StudyDescription(first_draws=2, search_trials=4))
    assert (summary.equal, summary.total, summary.unequal, summary.unknown) == (1, 1, (), ())
    (text,) = summary.list_sentences()
    assert text.startswith("1 of 1 cell had the budget of their baseline: ")
    for fact in ("first draws 2 alike", "search trials 4", "epochs 10", "confirm seeds 3", "batch 64"):
        assert fact in text


def test_summary_names_what_is_unequal_unknown_or_by_group() -> None:
    errors = ERRORS | {"se": [0.1, 0.1, 0.1]}
    rows = changed(rows_of(errors), {"variant": "sire", "stage": "confirm"}, batch=128)
    rows = changed(changed(rows, {}, precision=""), {"variant": "se", "stage": "confirm", "seed": 1}, status="failed")
    other = [row | {"dataset": "mnist", "threads": 8, "batch": 64} for row in changed(rows_of(), {}, precision="")]
    summary = audit.summarise_audit([group_of(rows), *_renamed(other)], StudyDescription())
    assert (summary.equal, summary.total) == (1, 3)
    assert dict(summary.unequal) == {
        "digits / cnn / sire": "batch 128, baseline 64",
        "digits / cnn / se": "2 of 3 seeds completed",
    }
    assert "precision" in summary.unknown and "threads" in summary.by_group
    assert any(text.startswith("digits / cnn / sire is not comparable: batch 128") for text in summary.list_sentences())


def _renamed(rows: list[dict[str, Any]]) -> list[Group]:
    cells = [testing.cell_of(name, "mnist", "cnn") for name in ERRORS]
    return group_cells(testing.make_records(rows, cells, seeds=3))


def test_summary_of_results_from_elsewhere() -> None:
    """Neither a search nor any condition was recorded: unknown, and comparable all the same."""
    blank = dict.fromkeys(["recipe", "precision", "memory_format", "split", "device_kind"], "")
    rows = [row | blank | {"batch": None, "threads": None} for row in rows_of() if row["stage"] == "confirm"]
    summary = audit.summarise_audit([group_of(rows)], StudyDescription())
    assert summary.equal == summary.total == 1
    assert {"recipe", "batch", "micro-batch", "threads", "precision"} <= set(summary.unknown)


def test_summary_without_baseline_and_with_too_many_looks() -> None:
    group = group_of(rows_of({"sire": ERRORS["sire"]}))
    summary = audit.summarise_audit([group], StudyDescription(looks=1, looks_taken=2))
    assert summary.unequal[0][1] == "this group has no baseline"
    late = summary.list_sentences()[-1]
    assert late.startswith(
        "It was looked at 2 times where 1 had been planned. Alpha is split over the planned ones alone"
    )
    split = audit.summarise_audit([group], StudyDescription(looks=2, looks_taken=2)).list_sentences()[-1]
    assert split == "The study planned 2 looks at its results and splits alpha over them."


def test_stops_are_told_in_the_summary() -> None:
    summary = audit.summarise_audit([group_of(stopped([1, 3], [1]))], StudyDescription())
    assert ("rungs", "after 1, 3 epochs") in summary.shared
