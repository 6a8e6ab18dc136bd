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
    "confirm": ["recipe", "revision", "hyperparameters", "epochs", "precision", "memory_format", "micro_batch"],
    "search": ["recipe", "revision", "epochs"],
}


def find_with_result(trials: pd.DataFrame) -> pd.Series:
    """Which rows are of a cell, stage and seed that has a result, in this row or another."""
    seeds = pd.MultiIndex.from_frame(trials[[*CELL, "stage", "seed"]].astype(str))
    results = trials["status"].isin(["completed", "diverged"])
    return pd.Series(seeds.isin(seeds[results]), trials.index)


def find_replaced(trials: pd.DataFrame) -> pd.Series:
    """Which rows are `skipped` or unfinished confirm trials of a cell and seed that another row has a result of."""
    return (trials["stage"] == "confirm") & trials["status"].isin(WITHOUT_END) & find_with_result(trials)


def find_stale(trials: pd.DataFrame) -> list[Any]:
    """Indices of the rows that a later protocol of their cell, or a later trial of their seed, replaced.

    Only rows that say when they started replace or are replaced. A trial without an end has not told its batch,
    threads, ... yet: it can't say which protocol counts.
    """
    stale: list[Any] = []
    if "started" not in trials:
        return stale
    ended = trials[trials["started"].notna() & ~trials["status"].isin(WITHOUT_END)]
    ordered = ended.sort_values("started", kind="stable")
    for stage, protocol in PROTOCOL.items():
        rows = ordered[ordered["stage"] == stage]
        protocols = pd.MultiIndex.from_frame(rows[[*CELL, *protocol]].astype(str))
        latest = protocols[~rows.duplicated(CELL, keep="last")]
        again = rows.duplicated([*CELL, "seed"], keep="last")
        stale += rows.index[~protocols.isin(latest) | again].tolist()
    return stale
