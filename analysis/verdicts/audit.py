"""The budget audit: baseline and variant must have had the same, or their difference means something else.

What neither side recorded (results from elsewhere) is unknown, not unequal; what one side alone recorded is unequal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.formatting import NONE, format_plural
from analysis.records.description import StudyDescription
from analysis.records.model import AUDITED, CellResults, Group
from suite.core.records import Record
from suite.core.specs import parse_settings

_SINCE = frozenset({"data", "test_data"})  # digests that older records lack: on one side alone they say nothing
_DIGESTS = frozenset({*_SINCE, "split"})  # shown by their beginning
_COUNTS = frozenset({"search trials", "search epochs", "confirm seeds"})  # known of every cell, whatever was recorded


def find_unequal(cell: CellResults, baseline: CellResults, name: str = "baseline", first_draws: int = 0) -> list[str]:
    """What differs between a cell and its baseline: `threads 4, baseline 2`; empty when the budgets are equal.

    `name` and `first_draws`: see `pairs.pair_seeds`.
    """
    differences = []
    spent, other_spent = _summarise_search(cell), _summarise_search(baseline)
    for budget, value in spent.items():
        if value != other_spent[budget]:
            differences.append(f"{budget} {value}, {name} {other_spent[budget]}")
    if any(trial.test_reads for trial in cell.search + baseline.search):
        differences.append("the search read the test set")
    differences += _find_unequal_rungs(cell, baseline, name) + _find_unequal_draws(cell, baseline, name, first_draws)
    trials, others = cell.records_by_seed(), baseline.records_by_seed()
    for field, label in AUDITED.items():
        for seed in sorted(trials.keys() & others.keys()):
            trial, other = trials[seed], others[seed]
            if trial.status == other.status == "completed" and _is_different(trial, other, field):
                value, other_value = _read_value(trial, field), _read_value(other, field)
                differences.append(f"{label} {value or 'not recorded'}, {name} {other_value or 'not recorded'}")
                break  # one seed is enough to name it
    return differences


def _summarise_search(cell: CellResults) -> dict[str, str]:
    trials = sum(trial.is_final for trial in cell.search)
    return {"search trials": str(trials), "search epochs": _join_values(cell.search, "epochs")}


def _is_different(trial: Record, other: Record, field: str) -> bool:
    values = {getattr(trial, field), getattr(other, field)}
    return len(values) == 2 and not (field in _SINCE and "" in values)


def _collect_rungs(cell: CellResults) -> set[int]:
    """After how many epochs ASHA stopped search trials of the cell."""
    return {trial.epochs_run for trial in cell.search if trial.status == "stopped"}


def _find_unequal_rungs(cell: CellResults, baseline: CellResults, name: str) -> list[str]:
    """The stops of both must fit one set of rungs, grace * reduction^i; which of them were used may differ."""
    stops, other_stops = _collect_rungs(cell), _collect_rungs(baseline)
    if not stops or not other_stops or _fit_one_ladder(stops | other_stops):
        return []
    stopped = f"{_format_numbers(stops)} epochs, {name} {_format_numbers(other_stops)}"
    return [f"search trials were stopped after {stopped}: not one set of rungs"]


def _fit_one_ladder(stops: set[int]) -> bool:
    least, most = min(stops), max(stops)
    for reduction in range(2, max(3, most + 1)):
        ladder = {least * reduction**step for step in range(most.bit_length())}
        if stops <= ladder:
            return True
    return len(stops) == 1


def count_shared_draws(study: StudyDescription) -> int:
    """How many search trials of every cell begin with the draws that all cells share; 0: the study doesn't say."""
    return min(study.first_draws, study.search_trials)


def _find_unequal_draws(cell: CellResults, baseline: CellResults, name: str, first_draws: int) -> list[str]:
    """The first draws must agree on what both search. What a cell's variant sets itself has one value throughout."""
    draws, other_draws = _read_draws(cell), _read_draws(baseline)
    other_searched = _find_searched(other_draws)
    shared = [knob for knob in _find_searched(draws) if knob in other_searched]
    for index in range(first_draws):
        if index in draws and index in other_draws:
            for knob in shared:
                value, other_value = draws[index].get(knob), other_draws[index].get(knob)
                if value != other_value:
                    return [f"search trial {index} drew {knob}={value or NONE}, {name} {knob}={other_value or NONE}"]
    return []


def _read_draws(cell: CellResults) -> dict[int, dict[str, str]]:
    """By index of the search trial: its hyperparameters, parsed from `lr=0.003, sire.lambda=0.1`."""
    return {trial.seed: parse_settings(trial.hyperparameters) for trial in cell.search}


def _find_searched(draws: Mapping[int, Mapping[str, str]]) -> list[str]:
    """Hyperparameters that took more than one value."""
    values: dict[str, set[str]] = defaultdict(set)
    for draw in draws.values():
        for knob, value in draw.items():
            values[knob].add(value)
    return [knob for knob, drawn in values.items() if len(drawn) > 1]


def budget_table(cell: CellResults) -> dict[str, str]:
    """What the cell was given, by name, for the report; several values are listed."""
    completed = list_completed(cell)
    budget = _summarise_search(cell)
    budget["confirm seeds"] = f"{len(completed)} of {len(cell.expected)}"
    for field, name in AUDITED.items():
        budget[name] = _join_values(completed, field)
    return budget


@dataclass(frozen=True)
class AuditSummary:
    """The audit of a whole study.

    Attributes:
        equal, total: cells with the budget of their baseline, and all that were to be compared (refused ones aside).
        shared: what all cells of the study were given alike, as (name, value).
        by_group: names of what differs between groups, yet not inside any.
        unequal: cells that had another budget than their baseline, as (cell, what).
        unknown: names of what no record says.
        notes: further sentences, such as on looks at the results.
    """

    equal: int
    total: int
    shared: tuple[tuple[str, str], ...]
    by_group: tuple[str, ...]
    unequal: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def blind(self) -> bool:
        """Whether no record says what was given: numbers of trials alone are shared, and nothing differs."""
        recorded = dict(self.shared).keys() - _COUNTS
        return bool(self.unknown) and not (recorded or self.by_group or self.unequal)

    def list_sentences(self) -> list[str]:
        """The summary as people read it, the most important first."""
        first = f"{self.equal} of {format_plural(self.total, 'cell')} had the budget of their baseline"
        if self.shared:
            first += f": {', '.join(map(' '.join, self.shared))}"
        sentences = [f"{first}."]
        if self.by_group:
            sentences.append(f"Equal within each dataset and backbone, not across them: {', '.join(self.by_group)}.")
        if self.unknown:
            sentences.append(f"Not recorded, hence unknown: {', '.join(self.unknown)}.")
        sentences += [f"{cell} is not comparable: {faults}." for cell, faults in self.unequal]
        return sentences + list(self.notes)


def summarise_audit(arranged: Sequence[Group], study: StudyDescription) -> AuditSummary:
    """The audit at the top of a report."""
    first_draws = count_shared_draws(study)
    total, unequal, stops = 0, [], set[int]()
    budgets, places = [], []
    for group in arranged:
        for cell in group.cells:
            stops |= _collect_rungs(cell)
            if not cell.refused and list_completed(cell):
                budgets.append(_list_given(cell))
                places.append(f"{cell.dataset} / {cell.backbone}")
            if not cell.refused and cell.in_family:
                total += 1
                faults = _find_faults(cell, group, first_draws)
                if faults:
                    unequal.append((f"{cell.dataset} / {cell.backbone} / {cell.label}", "; ".join(faults)))
    shared, by_group, unknown = _sort_budgets(pd.DataFrame(budgets, places).fillna(NONE))
    if stops:
        shared.insert(0, ("rungs", f"after {_format_numbers(stops)} epochs"))
    if first_draws:
        shared.insert(0, ("first draws", f"{first_draws} alike"))
    notes = tuple(_describe_looks(study))
    return AuditSummary(
        total - len(unequal), total, tuple(shared), tuple(by_group), tuple(unequal), tuple(unknown), notes
    )


def _sort_budgets(budgets: pd.DataFrame) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """What all cells share, what is alike within each group only, and what none recorded; the rows are cells."""
    shared, by_group, unknown = [], [], []
    for name in budgets.columns:
        values = budgets[name].unique()
        if len(values) == 1 and values[0] == NONE:
            unknown.append(name)
        elif len(values) == 1:
            shared.append((name, values[0]))
        elif budgets[name].groupby(level=0).nunique().max() == 1:
            by_group.append(name)
    return shared, by_group, unknown


def _find_faults(cell: CellResults, group: Group, first_draws: int) -> list[str]:
    baseline = group.baseline
    if baseline is None:
        return [group.without_baseline]
    faults = []
    for prefix, side in (("", cell), ("baseline: ", baseline)):
        completed, expected = len(list_completed(side)), len(side.expected)
        if completed < expected or not expected:
            faults.append(f"{prefix}{completed} of {format_plural(expected, 'seed')} completed")
    return faults + find_unequal(cell, baseline, first_draws=first_draws)


def _list_given(cell: CellResults) -> dict[str, str]:
    """`budget_table` with the number of seeds as such and without digests, which say nothing to people."""
    budget = budget_table(cell)
    for field in _DIGESTS:
        del budget[AUDITED[field]]
    if budget["search trials"] == "0":
        del budget["search epochs"]
    budget["confirm seeds"] = str(len(list_completed(cell)))
    return budget


def _describe_looks(study: StudyDescription) -> Iterable[str]:
    planned, taken = study.looks, study.looks_taken
    if planned > 1:
        yield f"The study planned {planned} looks at its results and splits alpha over them."
    if taken > planned:
        late = f"It was looked at {taken} times where {planned} had been planned"
        yield f"{late}. Alpha is split over the planned ones alone, so a false HELPS or HURTS is likelier than alpha."


def list_completed(cell: CellResults) -> list[Record]:
    """The confirm trials that its mean is over."""
    return [trial for trial in cell.confirm if trial.status == "completed"]


def _read_value(trial: Record, field: str) -> str:
    """As people read it; empty where it wasn't recorded."""
    value = getattr(trial, field)
    if field in _DIGESTS:
        return str(value)[:8]
    if field == "micro_batch" and value is None and trial.batch is not None:
        return "whole"
    return "" if value is None else str(value)


def _join_values(trials: Iterable[Record], field: str) -> str:
    return ", ".join(sorted({_read_value(trial, field) or NONE for trial in trials})) or NONE


def _format_numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
