"""The table of epochs to an error: what it says of seeds that never get there, its forms, and its verb."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from analysis import testing
from analysis.records.model import Records
from analysis.tables.speed import build_speed, to_text
from analysis.verdicts.results import StudyResults
from tests.fixtures import Command

BASE = [0.100, 0.110, 0.105, 0.095, 0.102]
CELLS: testing.Errors = {
    "baseline": BASE,
    "sire": [error - 0.02 for error in BASE],
    "slow": [0.2, 0.21, 0.1, 0.09, 0.2],
    "lost": [0.1, 0.1, None, 0.1, 0.1],
}


def write_records(records: Records, folder: Path) -> Path:
    records.trials.to_parquet(folder / "trials.parquet")
    records.epochs.to_parquet(folder / "epochs.parquet")
    (folder / "study.json").write_text(json.dumps(dict(records.study.whole)))
    return folder


def test_seeds_that_never_get_there_are_said() -> None:
    [table] = build_speed(StudyResults(testing.make_study(CELLS)))
    rows = {row[2].text: dict(zip([column.key for column in table.columns], row, strict=True)) for row in table.rows}
    assert rows["baseline"]["target"].number == pytest.approx(0.102 + 0.5 * 0.00673795 + 0.005, abs=1e-6)
    assert [row["reached"].text for row in rows.values()] == ["4/5", "5/5", "2/5", "4/4"]
    assert [row["epochs"].text for row in rows.values()] == ["9", "6", "> 10", "8"]
    saved = rows["sire"]["saved_epochs"]
    assert saved.low is not None and 0 < saved.low < saved.number < saved.high  # type: ignore[operator]
    assert len(saved.runs) == 10, "a difference rests on the baseline's runs too"
    assert rows["baseline"]["saved_epochs"].is_blank and rows["lost"]["saved_epochs"].is_blank
    assert table.notes[0] == "digits / cnn / lost: 1 of 5 seeds diverged (2); an average over unequal sets is refused"
    half = (saved.high - saved.low) / 2  # type: ignore[operator]
    assert f"{saved.number:+.1f} ± {half:.1f}" in to_text(table) and saved.detail.startswith("[+")


def test_times_of_another_device_are_not_shown_against_the_baselines() -> None:
    records = testing.make_study({"baseline": BASE, "sire": BASE[::-1]})
    records.trials.loc[records.trials["variant"] == "sire", "device"] = "a GPU"
    [table] = build_speed(StudyResults(records), 0.15)
    assert any(note.startswith("digits / cnn / sire: run on other devices than its baseline") for note in table.notes)


def test_without_curves_there_is_no_table(tmp_path: Path, graftbench: Command) -> None:
    records = testing.make_study(CELLS)
    bare = Records(records.trials, records.epochs.iloc[:0], records.study, records.superseded)
    assert build_speed(StudyResults(bare)) == []
    answer = graftbench("speed", "--records", write_records(bare, tmp_path))
    assert answer.code == 2 and "no validation curve" in answer.err and answer.err.count("\n") == 1


def test_every_form_is_printed(tmp_path: Path, graftbench: Command) -> None:
    folder = write_records(testing.make_study(CELLS), tmp_path)

    def printed(*options: str) -> str:
        answer = graftbench("speed", "--records", folder, *options)
        assert answer.code == 0
        return answer.out

    text = printed()
    assert text.startswith("Epochs to an error") and max(map(len, text.splitlines())) <= 118
    assert printed("--markdown").startswith("## Epochs to an error")
    assert "\\toprule" in printed("--format", "latex") and '<table class="sortable">' in printed("--format", "html")
    rows = json.loads(printed("--json", "--target", "15"))
    assert [row["variant"] for row in rows] == list(CELLS) and {row["target"] for row in rows} == {0.15}
    assert rows[1]["saved_epochs_low"] < rows[1]["saved_epochs"] == 0.8
    assert [row["reached"] for row in csv.DictReader(io.StringIO(printed("--format", "csv")))] == ["4", "5", "2", "4"]


@pytest.mark.parametrize("target", ["0", "100", "-3"])
def test_a_target_is_a_percentage(target: str, tmp_path: Path, graftbench: Command) -> None:
    answer = graftbench("speed", "--records", tmp_path, "--target", target)
    assert (
        answer.code == 2
        and f"--target: a validation error in percent, above 0 and below 100, not {target}" in answer.err
    )


def test_a_group_without_baseline_takes_a_named_target() -> None:
    records = testing.make_study({"sire": BASE})
    assert build_speed(StudyResults(records)) == []
    [table] = build_speed(StudyResults(records), 0.15)
    assert [row[4].text for row in table.rows] == ["5/5"]
