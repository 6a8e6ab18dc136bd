"""The budget audit: baseline and variant must have had the same, or their difference means something else.

What neither side recorded (results from elsewhere) is unknown, not unequal; what one side alone recorded is unequal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from analysis.formatting import NONE, format_plural
from analysis.records.description import StudyDescription
from analysis.records.model import AUDITED, CellResults, Group
from suite.core.records import FINISHED, Record
from suite.core.specs import parse_settings

_SINCE = frozenset({"data", "test_data"})  # digests that older records lack: on one side alone they say nothing
_SHORT = frozenset({*_SINCE, "split"})  # digests, shown by their beginning
# One value per cell: what was spent in the search.
_SEARCH: dict[str, Callable[[CellResults], object]] = {
    "search trials": lambda cell: sum(trial.status in FINISHED for trial in cell.search),
    "search epochs": lambda cell: _join_values({_format_value(trial.epochs) for trial in cell.search}),
}


def find_unequal(cell: CellResults, baseline: CellResults, name: str = "baseline", first_draws: int = 0) -> list[str]:
    """What differs between a cell and its baseline: `threads 4, baseline 2`; empty when the budgets are equal.

    Args:
        name: what the other cell is, for people.
        first_draws: how many search trials the two must have begun with the same draws.
    """
    found = []
    for budget, value in _SEARCH.items():
        own, other = value(cell), value(baseline)
        if own != other:
            found.append(f"{budget} {own}, {name} {other}")
    if any(trial.test_reads for trials in (cell.search, baseline.search) for trial in trials):
        found.append("the search read the test set")
    found += _unequal_rungs(cell, baseline, name) + _unequal_draws(cell, baseline, name, first_draws)
    own_seeds, other_seeds = cell.records_by_seed(), baseline.records_by_seed()
    for field, label in AUDITED.items():
        for seed in sorted(own_seeds.keys() & other_seeds.keys()):
            pair = own_seeds[seed], other_seeds[seed]
            if all(one.status == "completed" for one in pair) and _is_different(*pair, field):
                own, other = (
                    value.replace(NONE, "not recorded") for value in (_read_value(one, field) for one in pair)
                )
                found.append(f"{label} {own}, {name} {other}")
                break  # one seed is enough to name it
    return found


def _is_different(own: Record, other: Record, field: str) -> bool:
    values = {getattr(own, field), getattr(other, field)}
    return len(values) == 2 and not (field in _SINCE and "" in values)


def list_rungs(cell: CellResults) -> tuple[int, ...]:
    """After how many epochs ASHA stopped search trials of the cell."""
    return tuple(sorted({trial.epochs_run for trial in cell.search if trial.status == "stopped"}))


def _unequal_rungs(cell: CellResults, baseline: CellResults, name: str) -> list[str]:
    """The stops of both must fit one set of rungs, grace * reduction^i; which of them were used may differ."""
    own, other = list_rungs(cell), list_rungs(baseline)
    if not own or not other or _one_ladder({*own, *other}):
        return []
    stopped = f"{_format_numbers(own)} epochs, {name} {_format_numbers(other)}"
    return [f"search trials were stopped after {stopped}: not one set of rungs"]


def _one_ladder(stops: set[int]) -> bool:
    least, most = min(stops), max(stops)
    if least < 1:
        return stops == {least}
    for reduction in range(2, max(3, most // least + 1)):
        rung, ladder = least, {least}
        while rung < most:
            rung *= reduction
            ladder.add(rung)
        if stops <= ladder:
            return True
    return False


def count_shared_draws(study: StudyDescription) -> int:
    """How many search trials of every cell begin with the draws that all cells share; 0: the study doesn't say."""
    return min(study.first_draws, study.search_trials)


def _unequal_draws(cell: CellResults, baseline: CellResults, name: str, first_draws: int) -> list[str]:
    """The first draws must agree on what both search. What a cell's variant sets itself has one value throughout."""
    own, other = _read_draws(cell), _read_draws(baseline)
    shared = [knob for knob in _find_searched(own) if knob in _find_searched(other)]
    for index in range(first_draws):
        if index in own and index in other:
            for knob in shared:
                mine, theirs = own[index].get(knob), other[index].get(knob)
                if mine != theirs:
                    return [f"search trial {index} drew {knob}={mine or NONE}, {name} {knob}={theirs or NONE}"]
    return []


def _read_draws(cell: CellResults) -> dict[int, dict[str, str]]:
    """By index of the search trial: its hyperparameters, parsed from `lr=0.003, sire.lambda=0.1`."""
    return {trial.seed: parse_settings(trial.hyperparameters) for trial in cell.search}


def _find_searched(draws: Mapping[int, Mapping[str, str]]) -> list[str]:
    """Hyperparameters that took more than one value."""
    values: dict[str, set[str]] = {}
    for draw in draws.values():
        for knob, value in draw.items():
            values.setdefault(knob, set()).add(value)
    return [knob for knob, found in values.items() if len(found) > 1]


def budget_table(cell: CellResults) -> dict[str, str]:
    """What the cell was given, by name, for the report; several values are listed."""
    done = _list_completed(cell)
    given = {name: _format_value(value(cell)) for name, value in _SEARCH.items()}
    given["confirm seeds"] = f"{len(done)} of {len(cell.expected)}"
    return given | {
        name: _join_values({_read_value(trial, field) for trial in done}) for field, name in AUDITED.items()
    }


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
    notes: tuple[str, ...] = ()

    @property
    def blind(self) -> bool:
        """Whether no record says what was given: numbers of trials alone are shared, and nothing differs."""
        given = {name for name, _ in self.shared} - {*_SEARCH, "confirm seeds"}
        return bool(self.unknown) and not (given or self.by_group or self.unequal)

    def list_sentences(self) -> list[str]:
        """The summary as people read it, the most important first."""
        had = "cell had" if self.total == 1 else "cells had"
        facts = ", ".join(f"{name} {value}" for name, value in self.shared)
        told = [f"{self.equal} of {self.total} {had} the budget of their baseline{': ' if facts else ''}{facts}."]
        if self.by_group:
            told.append(f"Equal within each dataset and backbone, not across them: {', '.join(self.by_group)}.")
        if self.unknown:
            told.append(f"Not recorded, hence unknown: {', '.join(self.unknown)}.")
        told += [f"{cell} is not comparable: {what}." for cell, what in self.unequal]
        return told + list(self.notes)


def summarise_audit(arranged: Sequence[Group], study: StudyDescription | None = None) -> AuditSummary:
    """The audit at the top of a report.

    Args:
        study: the study's description (`Records.study`), for its first draws and its looks.
    """
    described = study or StudyDescription()
    cells = [(cell, group) for group in arranged for cell in group.cells if cell.in_family and not cell.refused]
    wrong = [
        (f"{cell.dataset} / {cell.backbone} / {cell.label}", "; ".join(found))
        for cell, group in cells
        if (found := _find_faults(cell, group, count_shared_draws(described)))
    ]
    given = [
        [_list_given(cell) for cell in group.cells if not cell.refused and _list_completed(cell)] for group in arranged
    ]
    given = [group for group in given if group]
    shared, by_group, unknown = list(_search_facts(arranged, described)), [], []
    for name in dict.fromkeys(name for group in given for one in group for name in one):
        values = {one.get(name, NONE) for group in given for one in group}
        if values == {NONE}:
            unknown.append(name)
        elif len(values) == 1:
            shared.append((name, values.pop()))
        elif all(len({one.get(name) for one in group}) == 1 for group in given):
            by_group.append(name)
    return AuditSummary(
        len(cells) - len(wrong), len(cells), tuple(shared), tuple(by_group), tuple(wrong), tuple(unknown),
        tuple(_describe_looks(described)),
    )  # fmt: skip


def _find_faults(cell: CellResults, group: Group, first_draws: int) -> list[str]:
    baseline = group.baseline
    if baseline is None:
        return [group.without_baseline]
    short = [
        f"{prefix}{len(_list_completed(one))} of {format_plural(len(one.expected), 'seed')} completed"
        for prefix, one in (("", cell), ("baseline: ", baseline))
        if len(_list_completed(one)) < len(one.expected) or not one.expected
    ]
    return short + find_unequal(cell, baseline, first_draws=first_draws)


def _list_given(cell: CellResults) -> dict[str, str]:
    """`table` with the number of seeds as such and without digests, which say nothing to people."""
    digests = {AUDITED[field] for field in _SHORT}
    own = {name: value for name, value in budget_table(cell).items() if name not in digests}
    if own["search trials"] == "0":
        own.pop("search epochs")
    return {name: str(len(_list_completed(cell))) if name == "confirm seeds" else value for name, value in own.items()}


def _search_facts(arranged: Sequence[Group], study: StudyDescription) -> Iterable[tuple[str, str]]:
    if draws := count_shared_draws(study):
        yield "first draws", f"{draws} alike"
    if stops := {stop for group in arranged for cell in group.cells for stop in list_rungs(cell)}:
        yield "rungs", f"after {_format_numbers(sorted(stops))} epochs"


def _describe_looks(study: StudyDescription) -> Iterable[str]:
    planned, taken = study.looks, study.looks_taken
    if planned > 1:
        yield f"The study planned {planned} looks at its results and splits alpha over them."
    if taken > planned:
        late = f"It was looked at {taken} times where {planned} had been planned"
        yield f"{late}. Alpha is split over the planned ones alone, so a false HELPS or HURTS is likelier than alpha."


def _list_completed(cell: CellResults) -> list[Record]:
    return [trial for trial in cell.confirm if trial.status == "completed"]


def _read_value(trial: Record, field: str) -> str:
    value = getattr(trial, field)
    if field in _SHORT:
        return str(value)[:8] or NONE
    if field == "micro_batch" and value is None and trial.batch is not None:
        return "whole"
    return _format_value(value)


def _format_value(value: object) -> str:
    return NONE if value is None or value == "" else str(value)


def _join_values(values: set[str]) -> str:
    return ", ".join(sorted(values)) or NONE


def _format_numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
