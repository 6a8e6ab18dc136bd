"""How far a study is, read from its storage; safe while it runs."""

from __future__ import annotations

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
    counts: dict[Cell, Counter[str]] = {planned.cell: Counter() for planned in plan.cells}
    for trial, status in storage.iterate_states():
        wanted = plan.count_seeds(trial.cell) if trial.stage == "confirm" else plan.study.search.trials
        if trial.cell in counts and trial.seed < wanted:
            counts[trial.cell][f"{trial.stage} {status}"] += 1
    cells = []
    for planned in plan.cells:
        asked = 0 if planned.refused else plan.study.search.trials + plan.count_seeds(planned.cell)
        found = counts[planned.cell]
        cells.append(
            {
                "dataset": planned.cell.dataset.label,
                "backbone": planned.cell.backbone.label,
                "variant": planned.cell.variant.label,
                "planned": asked,
                "refused": planned.refused,
                **{stage: _by_status(found, stage) for stage in ("search", "confirm")},
            }
        )
    return {"study": plan.study.study, "storage": str(storage.path), "trials": plan.trials, "cells": cells}


def _by_status(found: Counter[str], stage: str) -> dict[str, int]:
    return {
        status: found[f"{stage} {status}"]
        for status in (*STATUSES, "running", "interrupted", "unreadable")
        if found[f"{stage} {status}"]
    }


def find_trial(storage: Path, key: str) -> Path:
    """The folder of the trial whose key starts with `key`.

    Raises:
        UserError: no trial's key, or several trials' keys, start so.
    """
    if not re.fullmatch("[0-9a-f]{1,16}", key):
        raise UserError(f"{key!r} is no trial's key, which is up to 16 of the digits 0-9 and a-f")
    patterns = (f"*/trials/{key}*/trial.json", f"trials/{key}*/trial.json")
    found = sorted({path.parent for pattern in patterns for path in storage.glob(pattern)})
    if not found:
        raise UserError(f"no trial {key!r} under {storage}: the MLflow UI and collected trials.parquet list keys")
    if len(found) > 1:
        names = ", ".join(str(folder.relative_to(storage)) for folder in found[:5])
        raise UserError(f"{key!r} fits {len(found)} trials ({names}): give more digits, or --storage")
    return found[0]
