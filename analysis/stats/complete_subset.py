"""Averages over unequal sets are refused: what is left out until every dataset has every one of what is compared."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

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
    kept, places = list(names), list(datasets)
    while kept and places:
        gaps = [[not known(name, dataset) for dataset in places] for name in kept]
        by_name = [sum(line) / len(places) for line in gaps]
        by_dataset = [sum(column) / len(kept) for column in zip(*gaps, strict=True)]
        if max(by_name) == 0:
            break
        last_that_counts = len(places) == LEAST_DATASETS and by_name.count(0) >= LEAST_METHODS
        if last_that_counts or max(by_name) >= max(by_dataset):
            kept.pop(_last_of_the_largest(by_name))
        else:
            places.pop(_last_of_the_largest(by_dataset))
    if kept and places:
        places = [dataset for dataset in datasets if all(known(name, dataset) for name in kept)]
        kept = [name for name in names if all(known(name, dataset) for dataset in places)]
    return kept, places


def _last_of_the_largest(shares: Sequence[float]) -> int:
    return max(range(len(shares)), key=lambda index: (shares[index], index))
