"""The budget audit: baseline and variant must have had the same, or their difference means something else."""

from __future__ import annotations

from collections.abc import Callable

from analysis.formats import NONE
from analysis.select import CellResults
from suite.records import FINISHED, Record

# Field of a confirm record -> its name for people. Compared seed by seed, for with `resplit` the split varies by seed.
AUDITED: dict[str, str] = {
    "recipe": "recipe",
    "epochs": "epochs",
    "data": "training data",
    "split": "split",
    "test_data": "test data",
    "test_examples": "test images",
    "test_reads": "test reads",
    "batch": "batch",
    "micro_batch": "micro-batch",
    "precision": "precision",
    "memory_format": "memory format",
    "threads": "threads",
    "device_kind": "device kind",
}
_DIGESTS = frozenset({"data", "test_data"})
# One value per cell: what was spent in the search.
_SEARCH: dict[str, Callable[[CellResults], object]] = {
    "search trials": lambda cell: sum(trial.status in FINISHED for trial in cell.search),
    "search epochs": lambda cell: _joined({_text(trial.epochs) for trial in cell.search}),
}


def unequal(cell: CellResults, baseline: CellResults, name: str = "baseline") -> list[str]:
    """What differs between a cell and its baseline: `threads 4, baseline 2`; empty when the budgets are equal.

    Args:
        name: what the other cell is, for people.
    """
    found = []
    for budget, value in _SEARCH.items():
        own, other = value(cell), value(baseline)
        if own != other:
            found.append(f"{budget} {own}, {name} {other}")
    for trials in (cell.search, baseline.search):
        if any(trial.test_reads for trial in trials):
            found.append("the search read the test set")
            break
    own_seeds, other_seeds = cell.by_seed(), baseline.by_seed()
    for field, label in AUDITED.items():
        for seed in sorted(own_seeds.keys() & other_seeds.keys()):
            pair = own_seeds[seed], other_seeds[seed]
            if all(one.status == "completed" for one in pair) and _differ(*pair, field):
                found.append(f"{label} {_value(pair[0], field)}, {name} {_value(pair[1], field)}")
                break  # one seed is enough to name it
    return found


def _differ(own: Record, other: Record, field: str) -> bool:
    """A digest that one of the records doesn't have (an older version trained it) says nothing."""
    values = {getattr(own, field), getattr(other, field)}
    return len(values) == 2 and not (field in _DIGESTS and "" in values)


def table(cell: CellResults) -> dict[str, str]:
    """What the cell was given, by name, for the report; several values are listed."""
    done = [trial for trial in cell.confirm if trial.status == "completed"]
    given = {name: _text(value(cell)) for name, value in _SEARCH.items()}
    given["confirm seeds"] = f"{len(done)} of {len(cell.expected)}"
    return given | {name: _joined({_value(trial, field) for trial in done}) for field, name in AUDITED.items()}


def _value(trial: Record, field: str) -> str:
    value = getattr(trial, field)
    if field in {*_DIGESTS, "split"}:
        return str(value)[:8] or NONE  # a digest
    if field == "micro_batch" and value is None:
        return "whole"
    return _text(value)


def _text(value: object) -> str:
    return NONE if value is None or value == "" else str(value)


def _joined(values: set[str]) -> str:
    return ", ".join(sorted(values)) or NONE
