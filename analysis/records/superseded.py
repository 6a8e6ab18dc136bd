"""Trials that another pass of their cell replaced: an edited study run again, a seed run again."""

from __future__ import annotations

from typing import Any

import pandas as pd

from suite.core.specs import CellId

CELL = list(CellId._fields)
WITHOUT_END = ("skipped", "running")
# What must be one thing per cell and stage. A cell run again under another protocol (an edited study) counts with its
# latest one alone; the earlier rows are listed as superseded.
PROTOCOL = {
    "confirm": ["recipe", "hyperparameters", "epochs", "precision", "memory_format", "micro_batch"],
    "search": ["recipe", "epochs"],
}


def find_replaced(trials: pd.DataFrame) -> pd.Series:
    """Which rows are `skipped` or unfinished confirm trials of a cell and seed that another row has a result of."""
    confirm, status = trials["stage"] == "confirm", trials["status"]
    names = pd.Series(list(zip(*(trials[name].astype(str) for name in [*CELL, "seed"]), strict=True)), trials.index)
    return confirm & status.isin(WITHOUT_END) & names.isin(names[confirm & status.isin(["completed", "diverged"])])


def find_stale(ordered: pd.DataFrame, stage: str) -> list[Any]:
    """Indices of the stage's rows that a later protocol of their cell, or a later trial of their seed, replaced."""
    # A trial without an end has not told its batch, threads, ... yet: it can't say which protocol counts.
    rows = ordered[(ordered["stage"] == stage) & ~ordered["status"].isin(WITHOUT_END)]
    cells = list(rows[CELL].itertuples(index=False, name=None))
    protocols = [tuple(map(str, row)) for row in rows[PROTOCOL[stage]].itertuples(index=False, name=None)]
    seeds = [(cell, str(seed)) for cell, seed in zip(cells, rows["seed"], strict=True)]
    latest = dict(zip(cells, protocols, strict=True))  # rows are in order of start: the last one stays
    newest = dict(zip(seeds, rows.index, strict=True))
    each = zip(rows.index, cells, seeds, protocols, strict=True)
    return [index for index, cell, seed, own in each if own != latest[cell] or newest[seed] != index]
