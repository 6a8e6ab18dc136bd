"""Bringing a folder of collected records up to date: what changed in the tracking store is read, the rest is kept."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.records import epoch_files, manifest
from analysis.records.manifest import Change, Manifest
from analysis.records.mlflow_runs import SCHEMA, Run, one_per_key, split_batches, trials_table

log = logging.getLogger(__name__)

TRIALS, STUDY, PREDICTIONS = "trials.parquet", "study.json", "predictions"
_OWNED = (TRIALS, STUDY, PREDICTIONS, epoch_files.FOLDER, "epochs.parquet")  # the last is what older collectors wrote
_SHOWN = 5  # trials that a message names


class RunSource(Protocol):
    """A study's runs in a tracking store."""

    experiment_id: str
    tags: dict[str, str]  # of the experiment

    def list_runs(self) -> list[Run]:
        """Every run of a trial that is not deleted; without what `fill` reads."""

    def fill_runs(self, runs: Sequence[Run]) -> None:
        """Read the runs' tags and metrics."""

    def read_histories(self, runs: Sequence[Run]) -> pa.Table:
        """The epochs of filled runs, as `analysis.records.epoch_files.SCHEMA`."""

    def read_predictions(self, run: Run) -> bytes | None:
        """The run's `predictions.parquet`; None when it has none."""


def update_folder(source: RunSource, plan: Mapping[str, Any], out: Path, head: Manifest, full: bool) -> None:
    """Make `out` hold what `source` has, whole or not at all.

    Args:
        plan: the study's description.
        head: the new manifest, without runs and files.
        full: read every run again.
    """
    old, files = _read_earlier(out, head)
    if full:
        old, files = head, {}
    before = manifest.read_parquet(files[TRIALS]) if files else SCHEMA.empty_table()
    runs = source.list_runs()
    changed = _find_changed(runs, old)
    _fill_runs(source, changed)
    written = set(before["run_id"].to_pylist()).difference(run.run_id for run in changed)
    kept = one_per_key(runs)
    same = [run for run in kept if run.run_id in written]
    fresh = [run for run in kept if run.run_id not in written]
    # An unchanged run that wasn't written stood behind another run of its key, which is gone now.
    _fill_runs(source, [run for run in fresh if not run.tags])

    change = Change(out, _OWNED)
    same_ids = pa.array([run.run_id for run in same], pa.string())
    trials = trials_table(fresh, before.filter(pc.is_in(before["run_id"], same_ids)))
    placed = epoch_files.carry_over(change, old, files, same)
    placed |= epoch_files.add_epochs(change, _iterate_batches(source, fresh))
    pq.write_table(trials, change.draft_path())
    change.add_draft(TRIALS, trials.num_rows)
    for run in same:
        name = _predictions_of(run)
        if name in old.files:
            change.keep_file(name, old.files[name])
    _add_predictions(source, fresh, change)
    change.draft_path().write_text(json.dumps(plan, indent=1) + "\n")
    change.add_draft(STUDY)
    change.commit_change(head, {run.run_id: run.note_seen(placed.get(run.run_id, "")) for run in runs})


def _read_earlier(out: Path, head: Manifest) -> tuple[Manifest, dict[str, Path]]:
    """What is there already, and where its files are; `head` and none when it can't be built upon."""
    try:
        old = manifest.read_manifest(out)
        if old is not None:
            manifest.settle_folder(out, old, ())  # a change that was cut off after it counted
            if old.origin == head.origin:
                files = manifest.verify_files(out, old)
                if pq.read_schema(files[TRIALS]).equals(SCHEMA):
                    return old, files
    except manifest.DamagedError as error:
        log.warning("%s", str(error).replace(manifest.REMEDY, "everything is collected again"))
    return head, {}


def _find_changed(runs: Iterable[Run], old: Manifest) -> list[Run]:
    """The runs that are not as they were seen; the others get what was noted of them."""
    changed = []
    for run in runs:
        seen = old.runs.get(run.run_id)
        if seen is not None and run.is_as(seen):
            run.trial_key, run.record = seen.trial_key, seen.record
        else:
            changed.append(run)
    return changed


def _fill_runs(source: RunSource, runs: Sequence[Run]) -> None:
    for batch in split_batches(runs):
        source.fill_runs(batch)
    for run in runs:
        run.trial_key, run.record = run.tags.get("trial_key", ""), run.tags.get("status", "")


def _iterate_batches(source: RunSource, runs: Sequence[Run]) -> Iterator[tuple[Sequence[Run], pa.Table]]:
    """Histories; those of runs that will be read again apart. Without a trial key they would be nobody's."""
    for alive in (False, True):
        for batch in split_batches([run for run in runs if run.alive == alive and run.trial_key]):
            yield batch, source.read_histories(batch)


def _predictions_of(run: Run) -> str:
    return f"{PREDICTIONS}/{run.trial_key}.parquet"


def _add_predictions(source: RunSource, runs: Sequence[Run], change: Change) -> None:
    """Of the completed confirm trials. Those that are not there are logged, for the verdicts don't need them."""
    completed = [run for run in runs if run.tags.get("stage") == "confirm" and run.record == "completed"]
    missing = []
    for run in completed:
        content = None
        if re.fullmatch(r"[0-9A-Za-z_-]+", run.trial_key):  # it becomes a file's name
            content = source.read_predictions(run)
        if content is None:
            missing.append(run.trial_key)
        else:
            change.draft_path().write_bytes(content)
            change.add_draft(_predictions_of(run))
    if missing:
        names = ", ".join(missing[:_SHOWN])
        if len(missing) > _SHOWN:
            names += ", ..."
        log.warning("no predictions from %d of %d confirm trials: %s", len(missing), len(completed), names)
