"""How far a study is, read from its storage alone; safe while it runs, and imports nothing heavy."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.core import records
from suite.core.errors import UserError
from suite.core.files import is_locked
from suite.core.records import STATUSES, NoRecordError
from suite.core.trial_folder import read_epoch_note, read_trial
from suite.sweep.journal import LOCK, RunFacts, describe_end, read_ends, read_run, read_stamp

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
    noted = read_run(storage)
    is_active = is_locked(storage / LOCK)
    cells = {cell["label"]: cell for cell in plan["cells"]}
    trials = [trial for trial in _iterate_trials(storage, noted, is_active) if _is_planned(trial, cells)]
    counts: dict[str, Counter[tuple[str, str]]] = {label: Counter() for label in cells}
    for trial in trials:
        counts[trial["cell"]][trial["stage"], trial["status"]] += 1
    state = {"study": plan["study"], "storage": str(storage), "trials": plan["trials"], "cells": []}
    for label, cell in cells.items():
        state["cells"].append(
            {
                "dataset": cell["dataset"],
                "backbone": cell["backbone"],
                "variant": cell["variant"],
                "planned": cell["search_trials"] + cell["confirm_trials"],
                "refused": cell["refused"],
                "search": _count_by_status(counts[label], "search"),
                "confirm": _count_by_status(counts[label], "confirm"),
            }
        )
    running = [trial for trial in trials if trial["status"] == "running"]
    state["finished"] = sum(trial["status"] in records.FINISHED for trial in trials)
    state["running"] = [_pick(trial, _RUNNING) for trial in running]
    state["failures"] = [_pick(trial, _FAILED) for trial in trials if trial["status"] == "failed"]
    state["active"] = is_active
    state["run"] = state["trials_per_hour"] = state["seconds_left"] = None
    if is_active and noted:
        run, _ = noted
        now = time.time()
        state["run"] = {**dataclasses.asdict(run), "busy": len(running)}
        state["trials_per_hour"] = _measure_throughput(trials, run, now)
        state["seconds_left"] = _estimate_left(plan, trials, run, now)
    return state


_RUNNING = ("key", "cell", "stage", "seed", "epoch", "budget", "validation_top1_error")
_FAILED = ("key", "cell", "stage", "seed", "host", "reason")


def _pick(trial: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: trial.get(name) for name in names}


def _is_planned(trial: Mapping[str, Any], cells: Mapping[str, Mapping[str, Any]]) -> bool:
    cell = cells.get(trial["cell"])
    if cell is None or trial["revision"] != cell["revision"]:
        return False
    return bool(trial["seed"] < cell[f"{trial['stage']}_trials"])


def _count_by_status(counts: Counter[tuple[str, str]], stage: str) -> dict[str, int]:
    return {status: counts[stage, status] for status in (*STATUSES, *_OPEN) if counts[stage, status]}


# -- trials


def _iterate_trials(storage: Path, noted: tuple[RunFacts, int] | None, is_active: bool) -> Iterator[dict[str, Any]]:
    """Every started trial, as `suite.sweep.journal.describe_end` describes one that ended.

    A trial without a record is `running` where this run took it up, else `interrupted`; `unreadable` is one whose
    record this version can't read. One that failed is `running` again from when this run took it up on.
    """
    ends = read_ends(storage)
    began = noted[1] if noted else 0
    trials = storage / "trials"
    for key in _list_names(trials):
        stamp = read_stamp(f"{trials}/{key}")
        end = ends.get(key) if stamp else None
        if stamp and (end is None or end["stamp"] != stamp):
            end = _read_end(trials / key, stamp)
        if end is None or end["status"] == "failed":
            end = _look_again(trials / key, end, max(began, stamp or 0), is_active)
        if end is not None:
            yield end


def _look_again(folder: Path, failed: dict[str, Any] | None, since: int, is_active: bool) -> dict[str, Any] | None:
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


def _read_end(folder: Path, stamp: int) -> dict[str, Any] | None:
    """A record that has no line, read itself; None where it was cut short."""
    try:
        return describe_end(records.read_record(folder / "record.json"), stamp, None)
    except NoRecordError:
        return _describe_open(folder, "unreadable")
    except (OSError, ValueError):
        return None


def _describe_open(folder: Path, status: str) -> dict[str, Any] | None:
    """A trial that was started; None where nothing says which."""
    try:
        trial = read_trial(folder / "trial.json")
    except UserError:
        return None
    note = read_epoch_note(folder)
    return {
        "key": folder.name,
        "cell": trial.cell.label,
        "stage": trial.stage,
        "seed": trial.seed,
        "revision": trial.revision,
        "status": status,
        "ended": None,
        "seconds": note.get("train_seconds"),
        "epochs": note.get("epoch", 0),
        "budget": trial.epochs,
        "epoch": note.get("epoch"),
        "validation_top1_error": note.get("validation_top1_error"),
    }


# -- the run


def _measure_throughput(trials: Sequence[Mapping[str, Any]], run: RunFacts, now: float) -> float | None:
    """Trials that ended per hour, in the last hour of this run; None before the first."""
    since = max(run.started, now - _WINDOW)
    ended = sum((trial["ended"] or 0) > since for trial in trials)
    return 3600 * ended / (now - since) if ended and now > since else None


def _estimate_left(
    plan: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], run: RunFacts, now: float
) -> float | None:
    work: dict[str, CellWork] = {}
    for cell in plan["cells"]:
        epochs = cell["search_trials"] * plan["search_epochs"] + cell["confirm_trials"] * plan["epochs"]
        work[cell["label"]] = CellWork(cell["macs"] or 1, epochs)
    trained = 0.0
    for trial in trials:
        cell = work[trial["cell"]]
        is_over = trial["status"] in records.FINISHED
        cell.epochs_left -= trial["budget"] if is_over else trial["epochs"]
        if trial["seconds"]:
            cell.epochs_trained += trial["epochs"]
            cell.seconds_trained += trial["seconds"]
        if trial["status"] == "running" or (trial["ended"] or 0) > run.started:
            trained += trial["seconds"] or 0.0
    return estimate_seconds_left(list(work.values()), trained, now - run.started)


def format_duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


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
