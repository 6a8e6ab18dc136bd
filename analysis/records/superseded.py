"""Trials that another pass of their cell replaced: an edited study run again, a seed run again."""

from __future__ import annotations

from collections.abc import Sequence
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
    seeds = _list_rows(trials, [*CELL, "stage", "seed"])
    results = set()
    for seed, (status,) in zip(seeds, _list_rows(trials, ["status"]), strict=True):
        if status in ("completed", "diverged"):
            results.add(seed)
    return pd.Series([seed in results for seed in seeds], trials.index, dtype=bool)


def find_replaced(trials: pd.DataFrame) -> pd.Series:
    """Which rows are `skipped` or unfinished confirm trials of a cell and seed that another row has a result of."""
    replaceable = (trials["stage"] == "confirm") & trials["status"].isin(WITHOUT_END)
    if not replaceable.any():
        return replaceable
    return replaceable & find_with_result(trials)


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
        cells, protocols, seeds = _list_rows(rows, CELL), _list_rows(rows, protocol), _list_rows(rows, ["seed"])
        latest = dict(zip(cells, protocols, strict=True))
        last = {place: index for index, place in enumerate(zip(cells, seeds, strict=True))}
        for index, (cell, protocol_of_row, seed) in enumerate(zip(cells, protocols, seeds, strict=True)):
            if protocol_of_row != latest[cell] or index != last[cell, seed]:
                stale.append(rows.index[index])
    return stale


def _list_rows(trials: pd.DataFrame, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The columns' values row by row, None where there is none; for a study's rows faster than an index of them."""
    values = [trials[column].to_numpy(dtype=object, na_value=None) for column in columns]
    return list(zip(*values, strict=True))
