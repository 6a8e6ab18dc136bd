"""The description of a study, `study.json`: every entry that the analysis reads, with its type and its default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from suite.core.specs import CellId

_MOST_SEEDS, _MOST = 10_000, 1_000_000  # more would be a slip, and fill the memory
_Holds = Callable[[Any], bool]


@dataclass(frozen=True)
class PlannedCell:
    """A cell of the plan. `refused`: the sentence with which it was; `seeds` None: as many as the study has."""

    cell_id: CellId
    refused: str
    seeds: int | None


@dataclass(frozen=True, kw_only=True)
class StudyDescription:
    """What a study planned, and what it is called. Defaults stand for what results from elsewhere leave out.

    Attributes:
        alpha: chance of any false HELPS or HURTS, over all looks.
        rope: half-width of the region of practical equivalence, a fraction.
        looks, looks_taken: at how many numbers of seeds results may be looked at, and were.
        first_draws: search trials that all cells begin with the same draws.
        about: a sentence on each extension.
        reproduces: published tables by their names.
        whole: the mapping that all this was read from, unknown entries included.
    """

    study: str = ""
    description: str = ""
    profile: str = ""
    seeds: int = 0
    search_trials: int = 0
    first_draws: int = 0
    looks: int = 1
    looks_taken: int = 0
    alpha: float = 0.05
    rope: float = 0.005
    metric: Literal["top1", "top5"] = "top1"
    about: Mapping[str, str] = field(default_factory=dict)
    reproduces: tuple[str, ...] = ()
    cells: tuple[PlannedCell, ...] = ()
    whole: Mapping[str, Any] = field(default_factory=dict)


def read_description(study: object, where: str) -> StudyDescription:
    """The description in a mapping; null is the same as left out, a single name in `reproduces` a list of one.

    Raises:
        ValueError: an entry can't be what it is; the message says what it must be.
    """
    if not isinstance(study, Mapping):
        raise ValueError(f'{where} must be a JSON object, such as {{"alpha": 0.05}}.')
    _check_entries(study, where)
    known = {spec.name for spec in fields(StudyDescription)}
    entries = {name: value for name, value in study.items() if name in known and value is not None}
    reproduces = entries.get("reproduces", ())
    if isinstance(reproduces, str):
        reproduces = [reproduces]
    entries["reproduces"] = tuple(reproduces)
    entries["cells"] = tuple(map(_read_cell, entries.get("cells", ())))
    return StudyDescription(**entries | {"whole": study})


def _read_cell(cell: Mapping[str, Any]) -> PlannedCell:
    cell_id = CellId(*(cell[name] for name in CellId._fields))
    return PlannedCell(cell_id, cell.get("refused") or "", cell.get("seeds"))


def _check_entries(study: Mapping[str, Any], where: str) -> None:
    for name, (holds, what) in _ENTRIES.items():
        if name in study and not holds(study[name]):
            raise ValueError(f"{where}: {name} is {_shorten_repr(study[name])}; it must be {what}.")
    for number, cell in enumerate(study.get("cells", ()), start=1):
        for name, (holds, what) in _CELL.items():
            if not holds(cell.get(name)):
                raise ValueError(
                    f"{where}: {name} of cell {number} is {_shorten_repr(cell.get(name))}; it must be {what}."
                )


def _is_whole_between(least: int, most: int) -> tuple[_Holds, str]:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return holds, f"a whole number from {least} to {most}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_text_mapping(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values()))


def _is_names(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _is_cells(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(cell, dict) and set(CellId._fields) <= cell.keys() for cell in value
    )


def _shorten_repr(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_SEEDS = _is_whole_between(0, _MOST_SEEDS)
_NAMES_TO_TEXT = 'an object of names and texts, such as {"sire": "what it is"}'
_ENTRIES: Mapping[str, tuple[_Holds, str]] = {
    "study": (_is_text, "text"),
    "description": (_is_text, "text"),
    "profile": (_is_text, "text"),
    "seeds": _SEEDS,
    "search_trials": _is_whole_between(0, _MOST),
    "first_draws": _is_whole_between(0, _MOST),
    "looks": _is_whole_between(1, _MOST),
    "looks_taken": _is_whole_between(0, _MOST),
    "alpha": (
        lambda value: _is_number(value) and 1e-6 <= value < 0.5,
        "a number from 1e-06 to below 0.5, such as 0.05",
    ),
    "rope": (
        lambda value: _is_number(value) and 0 < value <= 0.1,
        "a fraction between 0 and 0.1 (0.005 stands for 0.5 percentage points)",
    ),
    "metric": (lambda value: value in ("top1", "top5"), "top1 or top5"),
    "about": (_is_text_mapping, _NAMES_TO_TEXT),
    "reproduces": (_is_names, "a list of names of published tables"),
    "cells": (_is_cells, "a list of objects with dataset, backbone, variant and settings"),
}
_CELL: Mapping[str, tuple[_Holds, str]] = {
    **{name: (lambda value: isinstance(value, str), "text") for name in CellId._fields},
    "refused": (_is_text, "text, or null"),
    "seeds": (lambda value: value is None or _SEEDS[0](value), _SEEDS[1]),
}
