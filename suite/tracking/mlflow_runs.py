"""Which of MLflow's runs tell of a study's trials: one for each trial, and what is left of earlier ones.

A trial has one run that counts. MLflow adds to a metric and takes nothing back, so a trial whose end stands in its run
gets another run when it is trained again, and the old one is superseded: tagged with the reason, then deleted, which in
MLflow means out of the default view and of every search, until somebody restores it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from suite.core.records import FINISHED, Record
from suite.core.specs import CellId, Trial

SUPERSEDED_TAG = "graftbench.superseded"  # of a run that no longer counts: why
TRAINED_AGAIN = "trained again"
NOT_PLANNED = "no longer in the plan"
DOUBLE = "another run of the same trial counts"


class Ending(NamedTuple):
    """How a trial ended, as far as a run tells: enough to know a record again.

    Attributes:
        status: empty where only the metrics arrived, which MLflow takes before the tags.
    """

    status: str
    failures: int
    seconds: float | None  # of training


@dataclasses.dataclass
class KnownRun:
    """What is known of a trial's run."""

    run_id: str
    trial_key: str
    cell_id: CellId
    stage: str
    seed: int | None
    started: int  # in milliseconds; the time of its final metrics, so that writing them again repeats them
    ending: Ending | None = None
    ended: bool = False  # whether MLflow too knows that the run is over
    superseded: str = ""  # why, of a run that is about to be deleted
    has_params: bool = False  # they go with the first metrics, which saves a call
    steps: set[int] | None = None  # epochs that stand in the run; None: not looked up yet

    def agrees(self, record: Record) -> bool:
        """Whether no other end than this record's stands in the run."""
        if self.ending is None:
            return True
        status, failures, seconds = self.ending
        if status and status != record.status:
            return False
        if status in FINISHED:
            return True
        known = (seconds or 0.0, failures)
        return math.isclose(known[0], record.train_seconds or 0.0) and known[1] == record.failures

    def needs_nothing(self, record: Record) -> bool:
        """Whether the run has this record, or a finished one where this one is not."""
        if self.ending is None or not self.ending.status:
            return False
        if self.ending.status in FINISHED and record.status not in FINISHED:
            return True
        return self.ended and self.agrees(record)


def read_cell_id(tags: Mapping[str, str]) -> CellId:
    return CellId(*(tags.get(name, "") for name in CellId._fields))


def read_run(run: Any) -> KnownRun:
    """A trial's run as MLflow gives it."""
    tags, info = run.data.tags, run.info
    seed = tags.get("seed", "")
    return KnownRun(
        run_id=info.run_id,
        trial_key=tags["trial_key"],
        cell_id=read_cell_id(tags),
        stage=tags.get("stage", ""),
        seed=int(seed) if seed.isdigit() else None,
        started=info.start_time,
        ending=_read_ending(tags, run.data.metrics),
        ended=info.status != "RUNNING",
        superseded=tags.get(SUPERSEDED_TAG, ""),
        has_params=bool(run.data.params),
    )


def _read_ending(tags: Mapping[str, str], metrics: Mapping[str, float]) -> Ending | None:
    """None while nothing of the trial's record has arrived."""
    status = tags.get("status", "")
    if not status and "epochs_run" not in metrics:
        return None
    return Ending(status, int(metrics.get("failures", 0)), metrics.get("train_seconds"))


def choose_runs(found: Iterable[KnownRun]) -> tuple[dict[str, KnownRun], list[KnownRun]]:
    """The run of each trial that counts, by the trial's key: the finished one, else the latest. And the others, which a
    kill in the middle of superseding them left, or a person restored.
    """
    chosen: dict[str, KnownRun] = {}
    left: list[KnownRun] = []
    for run in sorted(found, key=_rank):
        if not run.superseded:
            before = chosen.get(run.trial_key)
            if before is not None:
                left.append(before)
            chosen[run.trial_key] = run
        else:
            left.append(run)
    return chosen, left


def _rank(run: KnownRun) -> tuple[bool, int, str]:
    is_finished = run.ending is not None and run.ending.status in FINISHED
    return is_finished, run.started, run.run_id


def find_unplanned(runs: Iterable[KnownRun], records: Mapping[str, Record]) -> list[KnownRun]:
    """The runs of the plan's cells whose trials the plan doesn't know: with another choice of hyperparameters, of
    another revision, or of a cell that now has no confirm trials.

    A trial that the plan would make for its seed is none of them, though the study asks for fewer seeds now: a
    comparison counts every seed that was tried.

    Args:
        records: of the whole plan, by key.
    """
    cells = {find_cell_id(record) for record in records.values()}
    known = {key for key, record in records.items() if record.status != "skipped"}
    unknown = [run for run in runs if run.cell_id in cells and run.trial_key not in known]
    confirmed = _find_confirm_trials(records.values()) if unknown else {}
    unplanned = []
    for run in unknown:
        like = confirmed.get(run.cell_id)
        if like is None or run.seed is None or dataclasses.replace(like, seed=run.seed).key != run.trial_key:
            unplanned.append(run)
    return unplanned


def _find_confirm_trials(records: Iterable[Record]) -> dict[CellId, Trial]:
    """One of each cell: its others differ in the seed alone."""
    trials: dict[CellId, Trial] = {}
    for record in records:
        if record.stage == "confirm" and record.status != "skipped" and find_cell_id(record) not in trials:
            trials[find_cell_id(record)] = Trial.from_dict(record.trial)
    return trials


def find_cell_id(record: Record) -> CellId:
    return CellId(record.dataset, record.backbone, record.variant, record.settings)
