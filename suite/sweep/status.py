"""How far a study is, read from its storage; safe while it runs."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path
from typing import Any

from suite.core.errors import UserError
from suite.core.records import STATUSES
from suite.core.specs import Cell
from suite.study.plan import Plan
from suite.sweep.interim_looks import with_looks
from suite.sweep.storage import StudyStorage


def study_status(plan: Plan) -> dict[str, Any]:
    """Per cell: planned trials, and how many are in each state (`running` means started and not ended).

    Trials that the plan no longer asks for (a removed cell, fewer seeds) are not counted.
    """
    storage = StudyStorage(plan.study)
    storage.check_study()
    plan = with_looks(plan)
    counts: dict[Cell, Counter[tuple[str, str]]] = {planned.cell: Counter() for planned in plan.cells}
    for trial, status in storage.iterate_states():
        planned_trials = plan.count_seeds(trial.cell) if trial.stage == "confirm" else plan.study.search.trials
        is_planned = trial.cell in counts and trial.revision == plan.find_revision(trial.cell)
        if is_planned and trial.seed < planned_trials:
            counts[trial.cell][trial.stage, status] += 1
    cells = []
    for planned in plan.cells:
        cell = {
            "dataset": planned.cell.dataset.label,
            "backbone": planned.cell.backbone.label,
            "variant": planned.cell.variant.label,
            "planned": 0,
            "refused": planned.refused,
            "search": _count_by_status(counts[planned.cell], "search"),
            "confirm": _count_by_status(counts[planned.cell], "confirm"),
        }
        if not planned.refused:
            cell["planned"] = plan.study.search.trials + plan.count_seeds(planned.cell)
        cells.append(cell)
    return {"study": plan.study.study, "storage": str(storage.path), "trials": plan.trials, "cells": cells}


def _count_by_status(counts: Counter[tuple[str, str]], stage: str) -> dict[str, int]:
    statuses = (*STATUSES, "running", "interrupted", "unreadable")
    return {status: counts[stage, status] for status in statuses if counts[stage, status]}


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
