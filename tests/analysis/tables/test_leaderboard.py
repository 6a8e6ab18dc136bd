"""The leaderboard: order, ties, costs, and rows that have no rank."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import testing
from analysis.records.model import Records
from analysis.tables.all_tables import build_all_tables
from analysis.tables.leaderboard import build_tables, to_markdown, to_text
from analysis.verdicts.cell_rows import build_cell_rows
from analysis.verdicts.results import StudyResults
from tests.fixtures import Command

BASE = [0.100, 0.110, 0.105, 0.095, 0.102]
CELLS: testing.Errors = {
    "baseline": BASE,
    "sire:lambda=0.1": [error - 0.02 - wave for error, wave in zip(BASE, [0.001, 0, -0.001, 0.0005, 0], strict=True)],
    "sire:lambda=1": [error - 0.02 + wave for error, wave in zip(BASE, [0.001, 0.001, -0.001, 0, 0], strict=True)],
    "wide": [0.01, 0.01, None, 0.01, 0.01],
}


def study(errors: Any, *place: str, **changes: Any) -> StudyResults:
    return StudyResults(testing.make_study(errors, *place, **changes))


@pytest.fixture
def findings() -> StudyResults:
    return study(CELLS)


def test_order_and_bold(findings: StudyResults) -> None:
    rows = build_cell_rows(findings)
    assert [(row["rank"], row["label"]) for row in rows] == [
        (1, "sire(lambda=0.1)"),
        (2, "sire(lambda=1)"),
        (3, "baseline"),
        (None, "wide"),
    ]
    assert [row["bold"] for row in rows] == [True, True, False, False]


def test_numbers(findings: StudyResults) -> None:
    row = next(row for row in build_cell_rows(findings) if row["variant"] == "baseline")
    assert row["mean_error"] == pytest.approx(sum(BASE) / 5)
    deviation = (sum((error - sum(BASE) / 5) ** 2 for error in BASE) / 4) ** 0.5
    assert row["interval"] == pytest.approx(2.776445 * deviation / 5**0.5, rel=1e-6)
    assert (row["parameters"], row["macs"], row["inference_macs"]) == (1_000_000, 40_000_000, 40_000_000)
    assert row["verdict"] == "baseline"


def test_unequal_sets_have_no_mean(findings: StudyResults) -> None:
    row = build_cell_rows(findings)[-1]
    assert (row["mean_error"], row["seeds"], row["verdict"]) == (None, 4, "NOT COMPARABLE")


def test_rows_are_json(findings: StudyResults) -> None:
    assert json.loads(json.dumps(build_cell_rows(findings), allow_nan=False)) == build_cell_rows(findings)


def test_fewer_than_three_seeds_leave_nothing_bold() -> None:
    rows = build_cell_rows(study({"baseline": BASE[:2], "sire": [0.05, 0.06]}))
    assert not any(row["bold"] for row in rows)
    assert all(row["interval"] is None for row in rows)


def test_texts_show_costs_profile_and_reasons() -> None:
    smoke = study(CELLS, profile="smoke")
    for text in (to_text(smoke), to_markdown(smoke)):
        assert "profile: smoke" in text
        assert "1 of 5 seeds diverged (2)" in text
        assert "1.1 M" in text and "40 M" in text


def test_text_fits_a_terminal() -> None:
    long = {name + ":" + "components=IRe, decoders=1+4" if name != "baseline" else name: CELLS[name] for name in CELLS}
    wide = study({key: value for key, value in long.items() if "wide" not in key}, "digits", "timm:" + "r" * 40)
    assert max(map(len, to_text(wide).splitlines())) <= 118


def test_markdown_escapes_names() -> None:
    text = to_markdown(study({"baseline": BASE, "<b>a|b*": BASE}))
    assert "<b>" not in text and "a\\|b\\*" in text


def test_every_dataset_has_its_board() -> None:
    rows = testing.trial_rows(CELLS, "a") + testing.trial_rows(CELLS, "b")
    cells = [testing.cell_of(cell, name, "cnn") for name in ("a", "b") for cell in CELLS]
    board = build_cell_rows(StudyResults(testing.make_records(rows, cells, seeds=5)))
    assert [row["rank"] for row in board] == [1, 2, 3, None] * 2


def test_a_cell_that_diverged_still_shows_its_costs() -> None:
    row = build_cell_rows(study({"baseline": BASE, "wide": [None] * 5}))[-1]
    assert (row["parameters"], row["macs"], row["inference_macs"]) == (1_100_000, 44_000_000, 40_000_000)
    assert row["train_seconds"] == 12.5


def test_equal_means_share_a_rank() -> None:
    rows = build_cell_rows(study({"baseline": BASE, "a": BASE[::-1], "b": [error - 0.05 for error in BASE]}))
    assert [(row["rank"], row["label"]) for row in rows] == [(1, "b"), (2, "baseline"), (2, "a")]


def test_a_table_per_dataset_holds_fractions_intervals_and_runs(findings: StudyResults) -> None:
    [table] = build_tables(findings)
    keys = [column.key for column in table.columns]
    assert "decoders" not in keys, "no cell has any"
    best = dict(zip(keys, table.rows[0], strict=True))
    assert (best["rank"].number, best["variant"].text, best["error"].bold) == (1, "sire(lambda=0.1)", True)
    row = build_cell_rows(findings)[0]
    error = best["error"]
    assert error.number == row["mean_error"] and error.low == pytest.approx(row["mean_error"] - row["interval"])
    assert len(error.runs) == 5 and len(best["difference"].runs) == 10, "a difference rests on the baseline's runs too"
    assert best["difference"].low == row["ci_low"] and best["difference"].detail.startswith("[+")
    assert table.notes == ("cnn / wide: 1 of 5 seeds diverged (2); an average over unequal sets is refused",)


def test_decimals_follow_the_intervals_of_the_board() -> None:
    noisy = study({"baseline": [0.1, 0.2, 0.3], "sire": [0.2, 0.1, 0.4]})
    assert "20.0 ± 24.8" in to_text(noisy) and "20.00" not in to_text(noisy)


def test_the_number_of_decoders_is_a_column_of_every_table_of_cells() -> None:
    records = testing.make_study({"baseline": BASE, "sire": BASE, "sire:components=Re": BASE})
    cells = zip(records.trials["variant"], records.trials["settings"], strict=True)
    records.trials["decoders"] = [4 * (cell == ("sire", "")) for cell in cells]
    findings = StudyResults(records)
    found = {row["label"]: row["decoders"] for row in build_cell_rows(findings)}
    assert found == {"baseline": None, "sire": 4, "sire(components=Re)": None}
    tables = [table for table in build_all_tables(findings) if table.id not in ("budgets", "variants")]
    assert [table.id.partition("-")[0] for table in tables] == ["verdicts", "leaderboard", "costs", "speed", "ablation"]
    for table in tables:
        keys = [column.key for column in table.columns]
        assert sorted(row[keys.index("decoders")].number or 0 for row in table.rows)[-2:] == [0, 4], table.id
    [heading] = [line for line in to_text(findings).splitlines() if line.startswith("#")]
    assert " dec. " in heading


def test_records_that_do_not_say_how_many_decoders_logged_an_error_of_each() -> None:
    records = testing.make_study({"baseline": BASE, "sire": BASE})
    keys = records.trials.loc[records.trials["variant"] == "sire", "trial_key"]
    logged = [(key, epoch, f"reconstruction_mse_{i}", 0.1) for key in keys for epoch in (1, 2) for i in (1, 2, 3, 4)]
    extra = pd.DataFrame(logged, columns=records.epochs.columns)
    epochs = pd.concat([records.epochs, extra], ignore_index=True)
    findings = StudyResults(Records(records.trials, epochs, records.study, records.superseded))
    assert {row["variant"]: row["decoders"] for row in build_cell_rows(findings)} == {"baseline": None, "sire": 4}


def test_every_form_is_printed(tmp_path: Path, graftbench: Command) -> None:
    records = testing.make_study(CELLS)
    records.trials.to_parquet(tmp_path / "trials.parquet")
    records.epochs.to_parquet(tmp_path / "epochs.parquet")
    (tmp_path / "study.json").write_text(json.dumps(dict(records.study.whole)))

    def printed(form: str) -> str:
        answer = graftbench("leaderboard", "--records", tmp_path, "--format", form)
        assert answer.code == 0
        return answer.out

    assert printed("text").startswith("Leaderboard of synthetic")
    assert printed("markdown").startswith("# Leaderboard of synthetic")
    assert "\\toprule" in printed("latex") and '<table class="sortable">' in printed("html")
    assert len(json.loads(printed("json"))) == len(CELLS)
    rows = list(csv.DictReader(io.StringIO(printed("csv"))))
    assert [row["variant"] for row in rows] == [row["label"] for row in build_cell_rows(StudyResults(records))]
    assert float(rows[0]["error"]) == pytest.approx(0.0823, abs=1e-3), "a fraction"


def test_a_form_is_named_once_and_known(tmp_path: Path, graftbench: Command) -> None:
    for options, sentence in {
        ("--format", "excel"): "--format: must be one of text, markdown, latex, csv, json, html, not 'excel'",
        ("--json", "--markdown"): "json and markdown contradict each other",
    }.items():
        answer = graftbench("leaderboard", "--records", tmp_path, *options)
        assert answer.code == 2 and sentence in answer.err


def test_a_folder_without_records_is_one_sentence(tmp_path: Path, graftbench: Command) -> None:
    said = graftbench("leaderboard", "--records", tmp_path)
    assert said.code == 2
    assert said.out == "" and said.err.count("\n") == 1 and str(tmp_path) in said.err
