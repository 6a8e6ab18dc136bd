"""What a run leaves beside the records, so that `graftbench status` needs neither a plan nor every record.

<storage>/plan.json      what the run was asked for: its cells and their numbers of trials; and the run itself
<storage>/events.jsonl   a line per trial that ended, appended once its record is on the disk

The records stay the one truth. A line counts for the very file it was written of (`stamp`); a record without such a
line is read itself. Imports nothing heavy: what `status` needs starts in a moment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from suite import __version__
from suite.core.files import write_json
from suite.core.records import SCHEMA, Epoch, Record
from suite.core.specs import CellId, Trial

if TYPE_CHECKING:
    from suite.study.plan import Plan

LOCK = "lock"  # of a storage, held by the run that is at work
_PLAN, _EVENTS = "plan.json", "events.jsonl"
_REASON = 200  # characters of a reason that a line keeps
_BLOCK = 2**18  # bytes that are parsed at once


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """A run as a whole: when it began (seconds since 1970), where its driver is, how many trials it trains at once."""

    started: float
    host: str
    slots: int


class TrialState(NamedTuple):
    """What `status` tells of a trial. The line of one that ended is these values, without the last one.

    Attributes:
        epochs: trained so far, of the `budget`.
        seconds: of training; None: not known.
        ended: seconds since 1970; None: not known, or not yet.
        reason: its last line.
        stamp: of its record, see `read_stamp`; 0: there is none.
        validation_top1_error: a fraction, of a running trial's last epoch.
    """

    key: str
    cell: str  # its label
    stage: str
    seed: int
    revision: str
    status: str
    epochs: int
    budget: int
    seconds: float | None
    ended: float | None = None
    host: str = ""
    reason: str = ""
    stamp: int = 0
    validation_top1_error: float | None = None


_WIDTH = len(TrialState._fields) - 1


# -- the plan


def describe_plan(plan: Plan, source: str = "", run: RunFacts | None = None) -> dict[str, Any]:
    """What `status` needs of a checked plan, as plain JSON values.

    Args:
        source: digest of the study file, as `suite.study.study_files.digest_study` gives it.
    """
    cells = []
    for planned in plan.cells:
        cell = planned.cell
        counts = {"search_trials": 0, "confirm_trials": 0}
        if not planned.refused:
            counts = {"search_trials": plan.study.search.trials, "confirm_trials": plan.count_seeds(cell)}
        cells.append(
            {
                "label": cell.label,
                "dataset": cell.dataset.label,
                "backbone": cell.backbone.label,
                "variant": cell.variant.label,
                "revision": planned.revision,
                "refused": planned.refused,
                "macs": planned.macs,
                **counts,
            }
        )
    return {
        "schema": SCHEMA,
        "version": __version__,
        "source": source,
        "study": plan.study.study,
        "trials": plan.trials,
        "epochs": plan.epochs,
        "search_epochs": plan.search_epochs,
        "looks": [dataclasses.asdict(look) for look in plan.looks],
        "run": dataclasses.asdict(run) if run else None,
        "cells": cells,
    }


def write_plan(plan: Plan, source: str, slots: int) -> None:
    """Note what the run that begins now was asked for."""
    from suite.core import provenance  # it imports what reads packages' versions

    run = RunFacts(time.time(), provenance.find_host(), slots)
    write_json(describe_plan(plan, source, run), plan.study.storage_path / _PLAN)


def read_plan(storage: Path, source: str) -> dict[str, Any] | None:
    """What the last run was asked for; None where that can't be told: no run of this version left it, the study file
    has changed since, or seeds were added.
    """
    try:
        plan: dict[str, Any] = json.loads((storage / _PLAN).read_text())
        looks = json.loads((storage / "looks.json").read_text())
    except (OSError, ValueError):
        return None
    expected = {"schema": SCHEMA, "version": __version__, "source": source, "looks": looks}
    if not source or any(plan.get(name) != value for name, value in expected.items()):
        return None
    return plan


def find_run(storage: Path, plan: Mapping[str, Any]) -> tuple[RunFacts | None, int]:
    """The run that noted the plan, or the last one, and when it did by the clock of the storage's file system
    (nanoseconds since 1970; 0 when there was none of this version).
    """
    path = storage / _PLAN
    try:
        run = plan["run"] or json.loads(path.read_text())["run"]
        return RunFacts(**run), path.stat().st_mtime_ns
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0


# -- ends of trials


class EventLog:
    """A listener of the scheduler that appends a line for every trial that ended."""

    def __init__(self, storage: Path) -> None:
        self._storage = storage

    def on_start(self, trial: Trial) -> None:
        """Nothing: a trial's folder shows that it was started."""

    def on_epoch(self, trial: Trial, epoch: Epoch) -> None:
        """Nothing: the worker notes its last epoch in the trial's folder."""

    def on_finish(self, record: Record) -> None:
        self._append([record])

    def catch_up(self, records: Iterable[Record]) -> None:
        """Write the lines that are missing: of an older version, or a driver that was killed in between."""
        known = read_ends(self._storage)
        missing = []
        for record in records:
            stamp = read_stamp(self._storage / "trials" / record.trial_key)
            end = known.get(record.trial_key)
            if end is None or end.stamp != stamp:
                missing.append(record)
        self._append(missing)

    def _append(self, records: Iterable[Record]) -> None:
        text = ""
        for record in records:
            stamp = read_stamp(self._storage / "trials" / record.trial_key)
            if stamp is not None:  # a skipped trial has no record on the disk
                text += json.dumps(describe_end(record, stamp, time.time())[:_WIDTH]) + "\n"
        if not text:
            return
        # A line that is missing costs `status` a moment, and nobody a result.
        with contextlib.suppress(OSError), (self._storage / _EVENTS).open("a+b") as log:
            if log.tell():
                log.seek(-1, 2)
                if log.read() != b"\n":  # cut short by a kill
                    log.write(b"\n")
            log.write(text.encode())


def describe_end(record: Record, stamp: int, ended: float | None) -> TrialState:
    """
    Args:
        stamp: of the record's file, see `read_stamp`.
        ended: seconds since 1970, as far as that is known.
    """
    return TrialState(
        key=record.trial_key,
        cell=CellId(record.dataset, record.backbone, record.variant, record.settings).label,
        stage=record.stage,
        seed=record.seed,
        revision=record.revision,
        status=record.status,
        epochs=record.epochs_run,
        budget=record.epochs,
        seconds=record.train_seconds,
        ended=ended,
        host=record.host,
        reason=shorten_reason(record.reason),
        stamp=stamp,
    )


def shorten_reason(reason: str) -> str:
    """Its last line, cut where it is long."""
    lines = reason.strip().splitlines() or [""]
    last = lines[-1].strip()
    return last if len(last) <= _REASON else f"{last[:_REASON]}..."


def read_stamp(folder: str | Path) -> int | None:
    """When a trial's record was written, in nanoseconds since 1970: another file has another; None: there is none."""
    try:
        return os.stat(f"{folder}/record.json").st_mtime_ns  # noqa: PTH116  (of ten thousand trials)
    except OSError:
        return None


def read_ends(storage: Path) -> dict[str, TrialState]:
    """The latest line of each trial, by its key; lines that were cut short are passed over."""
    ends: dict[str, TrialState] = {}
    try:
        with (storage / _EVENTS).open(encoding="utf-8", errors="replace") as log:
            while block := log.readlines(_BLOCK):
                for end in _parse_lines(block):
                    ends[end.key] = end
    except OSError:
        pass
    return ends


def _parse_lines(lines: list[str]) -> Iterator[TrialState]:
    """All at once, which takes half the time; one by one where one of them is no line of ours."""
    try:
        yield from map(_parse_values, json.loads(f"[{','.join(lines)}]"))
    except (ValueError, TypeError):
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                yield _parse_values(json.loads(line))


def _parse_values(values: list[Any]) -> TrialState:
    if len(values) != _WIDTH:
        raise ValueError("a line of another version")
    return TrialState(*values)
