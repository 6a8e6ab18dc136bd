"""The tables of a study: across datasets, costs, ablations, budgets, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis import testing
from analysis.formatting import NONE
from analysis.tables import Table, Value, ablations, budgets, costs, images, overall, rendering
from analysis.tables import all_tables as reporting
from analysis.tables import verdicts as verdict_table
from analysis.tables.overall import find_comparable
from analysis.verdicts.cell_rows import rank_errors
from analysis.verdicts.model import VariantVerdict
from analysis.verdicts.rankings import Ranking
from analysis.verdicts.results import StudyResults

WAVE = [0.000, 0.002, -0.002, 0.001, -0.001]


def around(error: float, noise: float = 0.0) -> list[float]:
    """Five errors with this mean."""
    own = [0.5 * noise, -noise, noise, 0.0, -0.5 * noise]
    return [error + wave + part for wave, part in zip(WAVE, own, strict=True)]


def several(errors: Mapping[str, Mapping[str, Sequence[float | None]]], **changes: Any) -> StudyResults:
    """A study of several datasets: dataset -> cell -> errors by seed."""
    rows = [row for dataset, own in errors.items() for row in testing.trial_rows(own, dataset)]
    cells = [testing.cell_of(name, dataset, "cnn") for dataset, own in errors.items() for name in own]
    return StudyResults(testing.make_records(rows, cells, **{"seeds": 5, **changes}))


def by_key(table: Table, row: int) -> dict[str, Value]:
    return dict(zip((column.key for column in table.columns), table.rows[row], strict=True))


def column(table: Table, key: str) -> list[str]:
    return [by_key(table, index)[key].text for index in range(len(table.rows))]


# -- over all datasets

THREE: dict[str, dict[str, Sequence[float | None]]] = {
    "a": {"baseline": around(0.30), "sire": around(0.20), "wide": around(0.25)},
    "b": {"baseline": around(0.30), "sire": around(0.28), "wide": around(0.25)},
    "c": {"baseline": around(0.30), "sire": around(0.30), "wide": around(0.35)},
}


def test_mean_ranks_wins_and_errors_by_hand() -> None:
    [table] = overall.build_overall(several(THREE))
    # ranks: a 3 1 2, b 3 2 1, c 1.5 1.5 3 (baseline, sire, wide)
    assert column(table, "variant") == ["sire", "wide", "baseline"]
    assert column(table, "mean_rank") == ["1.50", "2.00", "2.50"]
    assert column(table, "wins") == ["2", "1", "1"], "a shared win counts for each"
    assert by_key(table, 0)["mean_error"].number == pytest.approx((0.20 + 0.28 + 0.30) / 3)
    assert by_key(table, 0)["datasets"].number == 3 and table.notes == ()
    iqm = by_key(table, 0)["iqm"]
    values = [error for own in THREE.values() for error in own["sire"]]
    assert iqm.number == pytest.approx(stats.trim_mean(values, 0.25))
    assert iqm.low is not None and iqm.high is not None and iqm.low < iqm.number < iqm.high
    assert len(iqm.runs) == 15


def test_ranks_are_scipys() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        errors = generator.integers(0, 6, 8) / 10
        assert rank_errors(errors.tolist()) == stats.rankdata(errors).tolist()
    assert rank_errors([0.1 + 0.2, 0.3]) == [1.5, 1.5], "rounding breaks no tie"
    assert rank_errors([0.3, 0.1, 0.3], "min") == [2, 1, 2]


def test_unequal_sets_are_refused_and_named() -> None:
    errors = {name: dict(own) for name, own in THREE.items()}
    errors["b"]["sire"] = [*around(0.28)[:4], None]
    [table] = overall.build_overall(several(errors))
    assert column(table, "variant") == ["wide", "baseline"] and column(table, "datasets") == ["3", "3"]
    assert len(table.notes) == 1 and table.notes[0].startswith("Left out: cnn / sire (b: 1 of 5 seeds diverged (4)")
    assert column(table, "mean_rank") == ["1.33", "1.67"], "ranked among those that are left"


def test_a_dataset_that_lacks_most_is_left_out_rather_than_all_cells() -> None:
    errors = {name: dict(own) for name, own in THREE.items()}
    errors["c"] = {name: [None] * 5 for name in errors["c"]}
    [table] = overall.build_overall(several(errors))
    assert column(table, "datasets") == ["2", "2", "2"]
    assert table.notes == ("Left out: the dataset c (not comparable there: cnn / baseline, cnn / sire, cnn / wide)",)


def test_a_cell_that_a_dataset_never_had_is_left_out() -> None:
    errors = {name: dict(own) for name, own in THREE.items()}
    del errors["a"]["wide"]
    [table] = overall.build_overall(several(errors))
    assert column(table, "variant") == ["sire", "baseline"]
    assert table.notes == ("Left out: cnn / wide (a: not in the study)",)


def test_what_is_left_out_never_depends_on_the_results() -> None:
    errors = {name: dict(own) for name, own in THREE.items()}
    errors["b"]["sire"] = [None] * 5
    swapped = {name: own | {"baseline": own["wide"], "wide": own["baseline"]} for name, own in errors.items()}
    one, other = (find_comparable(several(given)) for given in (errors, swapped))
    assert (one.pairs, one.datasets) == (other.pairs, other.datasets)


def test_one_dataset_has_no_overall_table() -> None:
    assert overall.build_overall(several({"a": THREE["a"]})) == []


def test_nothing_comparable_is_a_table_that_says_so() -> None:
    [table] = overall.build_overall(several({name: {"baseline": [None] * 5} for name in "ab"}))
    assert table.rows == () and table.notes
    for text in (rendering.to_markdown(table), rendering.to_html(table)):
        assert "Left out" in text


def test_other_numbers_of_seeds_leave_no_iqm() -> None:
    few: testing.Errors = {"baseline": around(0.3)[:3], "sire": around(0.2)[:3], "wide": around(0.2)[:3]}
    rows = [row for name, own in {**THREE, "b": few}.items() for row in testing.trial_rows(own, name)]
    cells = [testing.cell_of(name, dataset, "cnn") | {"seeds": 3 if dataset == "b" else 5}
             for dataset in THREE for name in few]  # fmt: skip
    [table] = overall.build_overall(StudyResults(testing.make_records(rows, cells, seeds=5)))
    assert set(column(table, "iqm")) == {NONE}
    assert "don't have the same number of seeds (a 5, b 3, c 5)" in table.notes[0]


# -- the variants and their ranks


class Judged(StudyResults):
    """Findings whose verdicts across datasets are given."""

    variants = [  # noqa: RUF012
        VariantVerdict(
            variant="sire", settings="lambda=0.1", datasets=("a", "b", "c"), differences=(0.01, 0.02, 0.03),
            left_out=("d: 1 of 5 seeds diverged (2)",), mean_difference=0.02, ci_low=0.005, ci_high=0.035,
            p_these=0.0004, p_like_these=0.03, p_adjusted=0.06, helps=2, verdict="NOT ENOUGH EVIDENCE", reason="why",
        ),
        VariantVerdict(variant="wide", settings="", verdict="NOT COMPARABLE", reason="too few datasets"),
    ]  # fmt: skip
    rankings = [  # noqa: RUF012
        Ranking(
            backbone="cnn", datasets=tuple("abcdef"), labels=("sire", "baseline"), average_ranks=(1.1, 1.9),
            statistic=4.0, iman_davenport=7.1, p_value=0.04, p_values=(0.03, None), critical_difference=0.8,
            alpha=0.05, left_out=("g: not comparable there: sire",),
        )
    ]  # fmt: skip


def test_variants_have_both_p_values_and_what_was_left_out() -> None:
    [table] = overall.build_variants(Judged(several(THREE).records))
    row = by_key(table, 0)
    assert (row["variant"].text, row["backbone"].text, row["verdict"].text) == (
        "sire(lambda=0.1)",
        "all",
        "NOT ENOUGH EVIDENCE",
    )
    assert (row["p_these"].text, row["p_like_these"].text, row["p_adjusted"].text) == ("0.0004", "0.03", "0.06")
    difference = row["difference"]
    assert (difference.number, difference.low, difference.high) == (0.02, 0.005, 0.035)
    assert by_key(table, 1)["difference"].text == NONE and "probability" not in row
    assert table.notes == ("sire(lambda=0.1): left out d: 1 of 5 seeds diverged (2)",)


def test_friedmans_ranks_name_their_control() -> None:
    [table] = overall.build_friedman(Judged(several(THREE).records))
    assert table.notes == ("Left out: g: not comparable there: sire",)
    assert table.id == "ranks-cnn" and column(table, "average_rank") == ["1.10", "1.90"]
    assert column(table, "p_value") == ["0.03", NONE]
    assert "F 7.10" in table.caption and "at alpha 0.05: 0.80" in table.caption


# -- costs


@pytest.mark.parametrize(
    ("errors", "expenses", "front"),
    [
        ([0.1, 0.2, 0.3], [3, 2, 1], [True, True, True]),
        ([0.1, 0.2, 0.3], [1, 2, 3], [True, False, False]),
        ([0.1, 0.2, 0.3], [2, 3, 1], [True, False, True]),
        ([0.1, 0.1, 0.1], [2, 2, 3], [True, True, False]),  # equal points are on it together
        ([0.1, 0.2], [2, 2], [True, False]),
        ([0.1, None, 0.2], [2, 1, 1], [True, False, True]),
        ([0.1, 0.2, 0.05], [2, 1, None], [True, True, False]),
        ([0.1, 0.2], [float("inf"), 1], [False, True]),
        ([], [], []),
    ],
)
def test_pareto_fronts_by_hand(errors: list[float | None], expenses: list[float | None], front: list[bool]) -> None:
    assert costs.find_front(errors, expenses) == front


def test_a_front_is_what_nothing_dominates() -> None:
    generator = np.random.default_rng(1)
    points = [(float(error), float(cost)) for error, cost in generator.integers(0, 9, (60, 2))]
    found = costs.find_front(*map(list, zip(*points, strict=True)))
    for point, on_front in zip(points, found, strict=True):
        beaten = any(error <= point[0] and cost <= point[1] and (error, cost) != point for error, cost in points)
        assert on_front == (not beaten)
    front = sorted({point for point, mark in zip(points, found, strict=True) if mark})
    assert all(one[1] > other[1] for one, other in pairwise(front))


def costly(**trials: Any) -> StudyResults:
    rows = [row | trials.get(row["variant"], {}) for row in testing.trial_rows(THREE["a"])]
    return StudyResults(
        testing.make_records(rows, [testing.cell_of(name, "digits", "cnn") for name in THREE["a"]], seeds=5)
    )


def test_hours_are_of_the_confirm_trials_and_with_the_search() -> None:
    [table] = costs.build_tables(costly())
    row = by_key(table, 0)
    assert row["confirm_seconds"].number == 5 * 12.5 and row["total_seconds"].number == 9 * 12.5
    assert row["confirm_seconds"].text == "0.017" and row["trials"].number == 9
    assert len(row["total_seconds"].runs) == 9 and len(row["error"].runs) == 5
    assert [one.title for one in table.columns if one.key == "total_seconds"] == ["CPU-hours with search"]


def test_the_front_of_each_cost_is_bold_and_named() -> None:
    [table] = costs.build_tables(costly())
    assert column(table, "variant") == ["sire", "wide", "baseline"]
    assert [by_key(table, index)["parameters"].bold for index in range(3)] == [True, False, True]
    assert by_key(table, 2)["front"].text == "params, MACs"
    assert by_key(table, 1)["front"].text == NONE


def test_a_cell_that_isnt_comparable_is_on_no_front() -> None:
    findings = several({"a": THREE["a"] | {"sire": [0.01, 0.01, 0.01, 0.01, None]}})
    [table] = costs.build_tables(findings)
    row = by_key(table, 2)
    assert row["variant"].text == "sire" and row["error"].text == NONE and row["front"].text == NONE
    assert row["parameters"].number == 1_100_000, "its costs are shown"


def test_times_of_several_devices_have_no_front() -> None:
    [table] = costs.build_tables(costly(wide={"device": "another CPU"}))
    assert not any(by_key(table, index)[key].bold for index in range(3) for key in ("train_seconds", "total_seconds"))
    assert table.notes == ("Times are of several devices (a CPU, another CPU), so no front is over time.",)


def test_a_trial_without_its_time_leaves_no_sum() -> None:
    [table] = costs.build_tables(costly(wide={"train_seconds": None}))
    row = by_key(table, 1)
    assert row["variant"].text == "wide" and row["total_seconds"].text == row["train_seconds"].text == NONE


# -- ablations


def test_one_setting_is_a_column_of_values_in_order() -> None:
    names = ["baseline", "sire:lambda=1", "sire:lambda=0.05", "sire", "wide:factor=2"]
    findings = several({"a": {name: around(0.3 - 0.01 * index, 0.002) for index, name in enumerate(names)}})
    [table] = ablations.build_tables(findings)
    assert table.id == "ablation-a-cnn-sire" and column(table, "sire.lambda") == ["default", "0.05", "1"]
    row = by_key(table, 1)
    verdict = next(one for one in findings.verdicts if one.settings == "lambda=0.05")
    assert (row["difference"].number, row["difference"].low, row["verdict"].text) == (
        verdict.mean_difference, verdict.ci_low, verdict.verdict,
    )  # fmt: skip


def test_two_settings_are_a_grid_and_what_wasnt_planned_says_so() -> None:
    planned = (("1", "0.1"), ("1+2", "0.1"), ("1+2+3", "0.1"), ("1", "0.5"), ("1+2", "0.5"))
    names = ["baseline", *(f"sire:components=IRe, decoders={one}, lambda={weight}" for one, weight in planned)]
    [table] = ablations.build_tables(several({"a": {name: around(0.3) for name in names}}))
    assert column(table, "sire.decoders") == ["1", "1+2", "1+2+3"]
    assert [one.title for one in table.columns] == ["decoders \\ lambda", "0.1", "0.5"]
    assert by_key(table, 2)["lambda=0.5"].text == NONE, "not in the study"
    first = by_key(table, 0)["lambda=0.1"]
    assert first.number == 0 and first.detail == "[+0.00 .. +0.00] EQUIVALENT"
    assert "The same in all: components=IRe." in table.caption


def test_settings_varied_one_at_a_time_are_rows_and_no_empty_grid() -> None:
    varied = ("lambda=0.1", "lambda=0.5", "lambda=1", "decoders=1", "decoders=1+2", "components=Re")
    names = ["baseline", "sire", *(f"sire:{one}" for one in varied)]
    [table] = ablations.build_tables(several({"a": {name: around(0.3) for name in names}}))
    assert [one.title for one in table.columns[:3]] == ["lambda", "decoders", "components"]
    assert column(table, "sire.lambda") == ["default"] * 4 + ["0.1", "0.5", "1"]
    two = ["baseline", "sire", *(f"sire:{one}" for one in varied[:-1])]
    [table] = ablations.build_tables(several({"a": {name: around(0.3) for name in two}}))
    assert len(table.rows) == 6, "half of a grid's 12 places would be empty"


def test_a_variant_with_one_setting_has_no_grid() -> None:
    assert ablations.build_tables(several({"a": {"baseline": around(0.3), "sire:lambda=1": around(0.3)}})) == []


# -- budgets


def test_budgets_show_what_differs_and_say_what_is_shared() -> None:
    table = budgets.build_budgets(costly(wide={"epochs": 5}))
    assert column(table, "search_trials") == ["4", "4", "4"] and column(table, "epochs") == ["10", "10", "5"]
    assert [by_key(table, index)["epochs"].bold for index in range(3)] == [False, False, True]
    assert "threads" not in by_key(table, 0) and "threads 2" in table.notes[0]
    assert len(by_key(table, 0)["variant"].runs) == 5


# -- images


def test_images_are_shown_by_part_and_class_with_what_speaks_against_them() -> None:
    recorded = {
        "train_examples": 700,
        "train_classes": "crow 400, owl 300",
        "validation_examples": 80,
        "validation_classes": "40 each of 2 classes",
        "validation_duplicates": 3,
        "test_classes": "180 each of 2 classes",
        "test_duplicates": 12,
        "conflicting_labels": 2,
        "passed_over": "90 files .heic",
    }
    rows = [
        row | recorded if row["stage"] == "confirm" else row
        for row in testing.trial_rows({"baseline": [0.3], "sire": [0.2]})
    ]
    records = testing.make_records(
        rows, [testing.cell_of(name, "digits", "cnn") for name in ("baseline", "sire")], seeds=1
    )
    [table] = images.build_images(StudyResults(records))
    assert column(table, "by_class") == ["crow 400, owl 300", "40 each of 2 classes", "180 each of 2 classes"]
    assert column(table, "images") == ["700", "80", "360"] and column(table, "copies") == [NONE, "3", "12"]
    assert table.notes == (
        "digits: 12 of 360 test images are training or validation images too, so their error is too low.",
        "digits: 2 images with a copy under another label.",
        "digits: passed over: 90 files .heic.",
    )


def test_records_without_counts_have_no_table_of_images() -> None:
    assert images.build_images(several({"a": {"baseline": around(0.3)}})) == []


# -- verdicts


def test_every_cell_has_its_verdict_with_its_numbers() -> None:
    findings = several({"a": THREE["a"] | {"sire:lambda=1": [0.2, 0.2, 0.2, 0.2, None]}})
    [table] = verdict_table.build_verdicts(findings)
    assert column(table, "variant") == ["sire", "wide", "sire(lambda=1)"]
    for index, one in enumerate(findings.verdicts):
        row = by_key(table, index)
        assert (row["verdict"].text, row["difference"].number, row["p_adjusted"].number, row["seeds"].number) == (
            one.verdict, one.mean_difference, one.p_adjusted, one.seeds,
        )  # fmt: skip
        assert row["reason"].text.startswith(one.reason)
    assert by_key(table, 2)["difference"].text == NONE and "probability_better" not in by_key(table, 0)
    assert verdict_table.build_verdicts(several({"a": {"baseline": around(0.3)}})) == []


def test_the_bootstrap_interval_is_shown_where_there_is_one() -> None:
    cells = {"baseline": 2 * around(0.30), "sire": [*around(0.28), *around(0.275, 0.002)]}
    findings = several({"a": cells}, seeds=10)
    [table], [one] = verdict_table.build_verdicts(findings), findings.verdicts
    shown = by_key(table, 0)["bootstrap"]
    assert one.bootstrap is not None and (shown.low, shown.high) == one.bootstrap
    assert shown.text.startswith("[+2.") and " .. +2." in shown.text
    [few] = verdict_table.build_verdicts(several({"a": THREE["a"]}))
    assert "bootstrap" not in by_key(few, 0)


# -- all together


def test_all_tables_have_their_own_names_and_every_form() -> None:
    errors = {name: {**THREE["a"], "sire:lambda=1": around(0.3)} for name in ("a b", "a_b", "c")}
    tables = reporting.build_all_tables(several(errors))
    names = [table.id for table in tables]
    assert len(set(names)) == len(names) and {"overall", "leaderboard-a-b", "leaderboard-a-b-2", "costs-c"} <= set(
        names
    )
    for table in tables:
        assert table.rows and table.caption
        for write in rendering._FORMS.values():
            assert write(table)


def test_a_study_without_any_trial_has_its_tables() -> None:
    cells = [testing.cell_of(name, dataset, "cnn") for dataset in "ab" for name in ("baseline", "sire", "sire:x=1")]
    tables = reporting.build_all_tables(StudyResults(testing.make_records([], cells, seeds=5)))
    assert {"overall", "leaderboard-a", "costs-b", "ablation-a-cnn-sire", "budgets"} <= {table.id for table in tables}
    for table in tables:
        assert rendering.to_json(table) and rendering.to_html(table)
