"""How far a study is, read from its storage alone; safe while it runs, and imports nothing heavy."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.core import records
from suite.core.errors import UserError
from suite.core.files import is_locked
from suite.core.records import FINISHED, STATUSES, NoRecordError
from suite.core.trial_folder import read_epoch_note, read_trial
from suite.sweep.journal import LOCK, RunFacts, TrialState, describe_end, find_run, read_ends, read_stamp

_WINDOW = 3600.0  # seconds: throughput is that of the last hour
_OPEN = ("running", "interrupted", "unreadable")


@dataclass
class CellWork:
    """What a cell has trained and has still to train, for an estimate of the time left."""

    macs: int  # multiply-accumulates of one image's forward pass
    epochs_left: int
    epochs_trained: int = 0
    seconds_trained: float = 0.0  # in those epochs

    @property
    def epoch_seconds(self) -> float:
        return self.seconds_trained / self.epochs_trained


def estimate_seconds_left(cells: Sequence[CellWork], trained: float, elapsed: float) -> float | None:
    """Training seconds left over the rate so far (slots and overhead included); None before anything was trained.

    A cell that has not trained yet is taken to cost what the one nearest in multiply-accumulates does, by them.

    Args:
        trained: seconds of training in this run, over all slots.
        elapsed: seconds since the run began.
    """
    measured = [cell for cell in cells if cell.epochs_trained]
    if not trained or not measured:
        return None
    least = min(cell.epoch_seconds for cell in measured)
    left = 0.0
    for cell in cells:
        nearest = cell
        if not cell.epochs_trained:
            nearest = min(measured, key=lambda other: abs(math.log(other.macs / cell.macs)))
        cost = nearest.epoch_seconds * cell.macs / nearest.macs
        left += max(0, cell.epochs_left) * max(least, cost)
    return left * elapsed / trained


def read_state(storage: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """How far a study is, as `status --json` prints it.

    Trials that the plan no longer asks for (a removed cell, fewer seeds) are not counted.

    Args:
        plan: as `suite.sweep.journal.describe_plan` gives it.
    """
    run, began = find_run(storage, plan)
    is_active = is_locked(storage / LOCK)
    planned = {}
    for cell in plan["cells"]:
        for stage in ("search", "confirm"):
            planned[cell["label"], stage, cell["revision"]] = cell[f"{stage}_trials"]
    trials: list[TrialState] = []
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)  # by cell and stage
    for trial in _iterate_trials(storage, began, is_active):
        if trial.seed < planned.get((trial.cell, trial.stage, trial.revision), 0):
            trials.append(trial)
            counts[trial.cell, trial.stage][trial.status] += 1
    running = [trial for trial in trials if trial.status == "running"]
    state: dict[str, Any] = {
        "study": plan["study"],
        "storage": str(storage),
        "trials": plan["trials"],
        "cells": [_describe_cell(cell, counts) for cell in plan["cells"]],
        "finished": sum(numbers[status] for numbers in counts.values() for status in FINISHED),
        "running": [_pick_fields(trial, _RUNNING) for trial in running],
        "failures": [_pick_fields(trial, _FAILED) for trial in trials if trial.status == "failed"],
        "active": is_active,
        "run": None,
        "trials_per_hour": None,
        "seconds_left": None,
    }
    if is_active and run:
        now = time.time()
        state["run"] = {**dataclasses.asdict(run), "busy": len(running)}
        state["trials_per_hour"] = _measure_throughput(trials, run, now)
        if state["trials_per_hour"]:  # the first epochs say too little
            state["seconds_left"] = _estimate_left(plan, trials, run, now)
    return state


_RUNNING = ("key", "cell", "stage", "seed", "epochs", "budget", "validation_top1_error")
_FAILED = ("key", "cell", "stage", "seed", "host", "reason")


def _pick_fields(trial: TrialState, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in names}


def _describe_cell(cell: Mapping[str, Any], counts: Mapping[tuple[str, str], Counter[str]]) -> dict[str, Any]:
    described = {name: cell[name] for name in ("dataset", "backbone", "variant")}
    described |= {"planned": cell["search_trials"] + cell["confirm_trials"], "refused": cell["refused"]}
    for stage in ("search", "confirm"):
        numbers: Mapping[str, int] = counts.get((cell["label"], stage), {})
        described[stage] = {status: numbers[status] for status in (*STATUSES, *_OPEN) if status in numbers}
    return described


# -- trials


def _iterate_trials(storage: Path, began: int, is_active: bool) -> Iterator[TrialState]:
    """Every started trial.

    A trial without a record is `running` where the run at work took it up, else `interrupted`; `unreadable` is one
    whose record this version can't read. One that failed is `running` again from when the run took it up on.

    Args:
        began: when the run was noted, see `suite.sweep.journal.find_run`.
    """
    ends = read_ends(storage)
    trials = storage / "trials"
    for key in _list_names(trials):
        stamp = read_stamp(f"{trials}/{key}")
        end = ends.get(key) if stamp else None
        if stamp and (end is None or end.stamp != stamp):
            end = _read_end(trials / key, stamp)
        if end is None or end.status == "failed":
            end = _look_again(trials / key, end, max(began, stamp or 0), is_active)
        if end is not None:
            yield end


def _look_again(folder: Path, failed: TrialState | None, since: int, is_active: bool) -> TrialState | None:
    """A trial that has no record, or failed: whether the run at work has taken it up since then."""
    if is_active and _read_time(folder / "trial.json") >= since:
        return _describe_open(folder, "running")
    return failed or _describe_open(folder, "interrupted")


def _list_names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  (ten thousand paths take a tenth of a second)
    except OSError:
        return []


def _read_time(path: Path) -> int:
    """When a file was written, in nanoseconds since 1970; 0 when there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _read_end(folder: Path, stamp: int) -> TrialState | None:
    """A record that has no line, read itself; None where it was cut short."""
    try:
        return describe_end(records.read_record(folder / "record.json"), stamp, None)
    except NoRecordError:
        return _describe_open(folder, "unreadable")
    except (OSError, ValueError):
        return None


def _describe_open(folder: Path, status: str) -> TrialState | None:
    """A trial that was started; None where nothing says which."""
    try:
        trial = read_trial(folder / "trial.json")
    except UserError:
        return None
    note = read_epoch_note(folder)
    return TrialState(
        key=folder.name,
        cell=trial.cell.label,
        stage=trial.stage,
        seed=trial.seed,
        revision=trial.revision,
        status=status,
        epochs=note.get("epoch", 0),
        budget=trial.epochs,
        seconds=note.get("train_seconds"),
        validation_top1_error=note.get("validation_top1_error"),
    )


# -- the run


def _measure_throughput(trials: Sequence[TrialState], run: RunFacts, now: float) -> float | None:
    """Trials that ended per hour, in the last hour of this run; None before the first."""
    since = max(run.started, now - _WINDOW)
    ended = sum((trial.ended or 0) > since for trial in trials)
    return 3600 * ended / (now - since) if ended and now > since else None


def _estimate_left(plan: Mapping[str, Any], trials: Sequence[TrialState], run: RunFacts, now: float) -> float | None:
    work: dict[str, CellWork] = {}
    for cell in plan["cells"]:
        epochs = cell["search_trials"] * plan["search_epochs"] + cell["confirm_trials"] * plan["epochs"]
        work[cell["label"]] = CellWork(cell["macs"] or 1, epochs)
    trained = 0.0
    for trial in trials:
        of_cell = work[trial.cell]
        ended_here = trial.status == "failed" and (trial.ended or 0) > run.started  # the next run tries it again
        of_cell.epochs_left -= trial.budget if trial.status in FINISHED or ended_here else trial.epochs
        if trial.seconds:
            of_cell.epochs_trained += trial.epochs
            of_cell.seconds_trained += trial.seconds
            if trial.status == "running" or (trial.ended or 0) > run.started:
                trained += trial.seconds
    return estimate_seconds_left(list(work.values()), trained, now - run.started)


def format_duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `6.5 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"


def find_trial(storage: Path, key: str) -> Path:
    """The folder of the one trial whose key starts with `key`."""
    if not re.fullmatch("[0-9a-f]{1,16}", key):
        raise UserError(f"{key!r} is no trial's key, which is up to 16 of the digits 0-9 and a-f")
    files = itertools.chain(storage.glob(f"*/trials/{key}*/trial.json"), storage.glob(f"trials/{key}*/trial.json"))
    folders = sorted({path.parent for path in files})
    if not folders:
        raise UserError(f"no trial {key!r} under {storage}: the MLflow UI and collected trials.parquet list keys")
    if len(folders) > 1:
        names = ", ".join(str(folder.relative_to(storage)) for folder in folders[:5])
        raise UserError(f"{key!r} fits {len(folders)} trials ({names}): give more digits, or --storage")
    return folders[0]
