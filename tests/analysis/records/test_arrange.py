"""Reading collected records: damage, wrong columns, figures that are none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import testing
from analysis.records.arrange import arrange_records, group_cells
from analysis.records.epoch_files import SCHEMA as EPOCHS
from analysis.records.load import load_records
from analysis.records.manifest import Change, Manifest, SeenRun, read_manifest
from analysis.records.mlflow_runs import SCHEMA
from analysis.records.model import Records
from analysis.verdicts.cells import judge_cells

HEAD = Manifest("demo", "sqlite:///runs/mlflow.db", "1", "2026-01-01T00:00:00+00:00")
OWNED = ("trials.parquet", "study.json", "epochs")


def a_study() -> Records:
    return testing.make_study({"baseline": [0.1, 0.11, 0.12], "sire": [0.08, 0.09, 0.1]})


def collected(folder: Path, change: Callable[[pa.Table], pa.Table] = lambda table: table) -> Path:
    """A folder as the collector leaves it, with a manifest that vouches for it."""
    records = a_study()
    folder.mkdir(exist_ok=True)
    new = Change(folder, OWNED)
    trials = pa.Table.from_pandas(records.trials, schema=SCHEMA, preserve_index=False)
    pq.write_table(change(trials), new.draft_path())
    new.add_draft("trials.parquet")
    epochs = records.epochs.astype({"trial_key": "category", "metric": "category"})
    pq.write_table(pa.Table.from_pandas(epochs, preserve_index=False).cast(EPOCHS), new.draft_path())
    new.add_draft("epochs/{}.parquet")
    new.draft_path().write_text(json.dumps(dict(records.study.whole)))
    new.add_draft("study.json")
    new.commit_change(HEAD, {"run": SeenRun("FINISHED", 0, 1)})
    return folder


def put(name: str, rows: dict[int, Any]) -> Callable[[pa.Table], pa.Table]:
    """Other values in some rows of a column. The last rows are the confirm trials of `sire`."""

    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        for row, value in rows.items():
            values[row] = value
        return table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), [values])

    return change


def test_what_was_collected_comes_back(tmp_path: Path) -> None:
    records = load_records(collected(tmp_path))
    assert judge_cells(records) == judge_cells(a_study())
    assert len(records.epochs) == len(a_study().epochs) and records.problems == ()
    assert records.source == {
        "tracking_uri": "sqlite:///runs/mlflow.db",
        "experiment_id": "1",
        "collected": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize("name", ["trials.parquet", "study.json", "epochs/*"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damage_is_named_with_its_remedy(tmp_path: Path, name: str, damage: str) -> None:
    (path,) = collected(tmp_path).glob(name)
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(whole[:-9] if damage == "cut" else whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    what = "is missing" if damage == "gone" else "is not what was collected"
    with pytest.raises(ValueError, match=rf"{path.name} {what}.*: collect the study's records again\."):
        load_records(tmp_path)


@pytest.mark.parametrize("name", ["trials.parquet", "study.json", "epochs/*"])
@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_damage_that_the_manifest_vouches_for_is_named_too(tmp_path: Path, name: str, content: bytes) -> None:
    (path,) = collected(tmp_path).glob(name)
    whole = (tmp_path / "manifest.json").read_text()
    old, new = (hashlib.sha256(text).hexdigest() for text in (path.read_bytes(), content))
    path.write_bytes(content)
    (tmp_path / "manifest.json").write_text(whole.replace(old, new))
    with pytest.raises(ValueError, match=rf"{path.name} is damaged .*: collect the study's records again\."):
        load_records(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"schema": 99}', r": a later Graftbench wrote it with results schema 99, and this one .* reads up to"),
        ('{"schema": "new"}', "is damaged"),
        ('{"schema": 1, "runs": {}, "files": {"../x": {"sha256": ""}}}', "names files outside its folder"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    (collected(tmp_path) / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=f"manifest.json ?{sentence}"):
        load_records(tmp_path)


def test_columns_that_lack_or_have_the_wrong_type_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trials\.parquet lacks the columns seed, test_top1_error: collect"):
        load_records(collected(tmp_path / "a", lambda table: table.drop_columns(["test_top1_error", "seed", "split"])))
    as_text = SCHEMA.set(SCHEMA.get_field_index("seed"), pa.field("seed", pa.string()))
    with pytest.raises(ValueError, match=r"wrong type \(seed is text, not int64\): collect"):
        load_records(collected(tmp_path / "b", lambda table: table.cast(as_text)))


def test_columns_that_a_later_version_added_are_null_in_older_folders(tmp_path: Path) -> None:
    newer = ["graftbench_version", "majority_error", "micro_batch", "reason"]
    records = load_records(collected(tmp_path, lambda table: table.drop_columns(newer)))
    assert records.trials[["majority_error", "micro_batch"]].isna().all(axis=None)
    assert (records.trials[["graftbench_version", "reason"]] == "").all(axis=None)
    own = [(one.verdict, one.p_value) for one in judge_cells(a_study())]
    assert [(one.verdict, one.p_value) for one in judge_cells(records)] == own


@pytest.mark.parametrize("value", [float("nan"), None, float("inf"), 1.797e308])
def test_what_is_no_error_is_named_and_never_averaged(tmp_path: Path, value: float | None) -> None:
    records = load_records(collected(tmp_path, put("test_top1_error", {-1: value})))
    assert any(
        "1 completed trial without a finite test_top1_error: sire on cnn, digits, seed 2" in one
        for one in records.problems
    )
    (verdict,) = judge_cells(records)
    assert verdict.verdict == "NOT COMPARABLE" and "1 of 3 seeds without a test error (2)" in verdict.reason


def test_infinities_count_as_not_measured(tmp_path: Path) -> None:
    records = load_records(collected(tmp_path, put("train_seconds", {-1: 1.797e308, -2: float("-inf")})))
    assert records.trials["train_seconds"].isna().sum() == 2
    where = "sire on cnn, digits, seed 1; sire on cnn, digits, seed 2"
    assert records.problems == (f"train_seconds is infinite, so counted as not measured, in {where}.",)


@pytest.mark.parametrize(("value", "remedy"), [(8.3, "divide them by 100"), (-0.1, "correct it")])
def test_an_error_that_is_no_fraction_is_refused(tmp_path: Path, value: float, remedy: str) -> None:
    with pytest.raises(
        ValueError, match=rf"validation_top1_error is {value} in sire on cnn, digits, seed 2: .*{remedy}"
    ):
        load_records(collected(tmp_path, put("validation_top1_error", {-1: value})))


def test_a_collector_at_work_does_not_disturb_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader has the old manifest when the files change under it."""
    collected(tmp_path)
    old, reads = read_manifest(tmp_path), []
    collected(tmp_path, put("test_top1_error", {-1: 0.5}))

    def late(folder: Path) -> Manifest | None:
        reads.append(folder)
        return old if len(reads) == 1 else read_manifest(folder)

    monkeypatch.setattr("analysis.records.manifest.read_manifest", late)
    assert load_records(tmp_path).trials["test_top1_error"].iloc[-1] == 0.5 and len(reads) == 2


def test_rows_without_a_start_neither_supersede_nor_vanish() -> None:
    whole = a_study()
    rows = pd.concat([whole.trials, whole.trials.iloc[[-1]].assign(test_top1_error=0.5)], ignore_index=True)
    dated = arrange_records(rows, whole.epochs, whole.study)
    assert len(dated.superseded) == 1
    undated = arrange_records(rows.assign(started=None), whole.epochs, whole.study)
    assert len(undated.superseded) == 0
    (group,) = group_cells(undated)
    assert group.cells[1].errors_by_seed("test_top1_error") == {0: 0.08, 1: 0.09}
    assert group.cells[1].describe_gap("test_top1_error") == "1 of 3 seeds with different results (2)"


def test_an_unfinished_row_whose_seed_has_a_result_is_named() -> None:
    whole = a_study()
    again = whole.trials.iloc[[-1]].assign(status="skipped", trial_key="later", started=5)
    records = arrange_records(pd.concat([whole.trials, again], ignore_index=True), whole.epochs, whole.study)
    assert len(records.trials) == len(whole.trials)
    assert records.problems == ("1 skipped or unfinished trial not used, for another pass has a result of the seed.",)


@pytest.mark.parametrize(
    ("status", "expected"), [("failed", 4), ("diverged", 4), ("completed", 4), ("running", 3), ("skipped", 3)]
)
def test_a_seed_beyond_the_plan_counts_once_it_was_tried(status: str, expected: int) -> None:
    """A topup that was cut off leaves trials that are not finished: they must not spoil the cells that are."""
    whole = a_study()
    some = whole.trials.iloc[[-1]].assign(seed=3, status=status, trial_key="more", test_top1_error=None, started=5)
    records = arrange_records(pd.concat([whole.trials, some], ignore_index=True), whole.epochs, whole.study)
    (group,) = group_cells(records)
    assert [cell.expected for cell in group.cells] == [tuple(range(expected))] * 2
    (verdict,) = judge_cells(records)
    assert (verdict.verdict == "NOT COMPARABLE") == (expected == 4)
