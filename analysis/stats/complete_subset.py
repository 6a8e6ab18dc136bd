"""Averages over unequal sets are refused: what is left out until every dataset has every one of what is compared."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

LEAST_DATASETS = 6  # for Friedman's test and what follows it
LEAST_METHODS = 3  # the baseline and two variants; with one, Wilcoxon's test says it all
_Name = TypeVar("_Name", bound=Hashable)


def without_gaps(
    names: Sequence[_Name], datasets: Sequence[str], known: Callable[[_Name, str], bool]
) -> tuple[list[_Name], list[str]]:
    """The names and the datasets that are left, in their order: `known` of every one of them.

    While there is a gap, whatever has the largest share of gaps is left out (ties: the name, the later one). None of
    six datasets goes where three names or more have no gap: then the other names go. At last comes back what has no gap
    with all that is left. It depends on what is missing alone, never on how good the rest is.
    """
    table = [[known(name, dataset) for dataset in datasets] for name in names]
    gaps = ~np.array(table, dtype=bool).reshape(len(names), len(datasets))
    rows, columns = np.arange(len(names)), np.arange(len(datasets))
    while gaps[np.ix_(rows, columns)].any():
        by_name, by_dataset = gaps[np.ix_(rows, columns)].mean(axis=1), gaps[np.ix_(rows, columns)].mean(axis=0)
        last_that_counts = len(columns) == LEAST_DATASETS and (by_name == 0).sum() >= LEAST_METHODS
        if last_that_counts or by_name.max() >= by_dataset.max():
            rows = np.delete(rows, np.flatnonzero(by_name == by_name.max())[-1])
        else:
            columns = np.delete(columns, np.flatnonzero(by_dataset == by_dataset.max())[-1])
    if len(rows) and len(columns):
        columns = np.flatnonzero(~gaps[rows].any(axis=0))
        rows = np.flatnonzero(~gaps[:, columns].any(axis=1))
    return [names[row] for row in rows.tolist()], [datasets[column] for column in columns.tolist()]
