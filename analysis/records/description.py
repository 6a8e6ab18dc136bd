"""The description of a study, `study.json`: every entry that the analysis reads, with its type and its default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from suite.core.specs import CellId

_MOST_SEEDS, _MOST = 10_000, 1_000_000  # more would be a slip, and fill the memory
_Check = tuple[Callable[[Any], bool], str]  # whether a value can be the entry, and what it must be


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
    for name, check in _ENTRIES.items():
        if name in study:
            _check_entry(f"{where}: {name}", study[name], check)
    cells = []
    for number, cell in enumerate(study.get("cells", ()), start=1):
        for name, check in _CELL.items():
            _check_entry(f"{where}: {name} of cell {number}", cell.get(name), check)
        cell_id = CellId(*(cell[name] for name in CellId._fields))
        cells.append(PlannedCell(cell_id, cell.get("refused") or "", cell.get("seeds")))
    entries = {spec.name: study[spec.name] for spec in fields(StudyDescription) if study.get(spec.name) is not None}
    reproduces = entries.get("reproduces", ())
    if isinstance(reproduces, str):
        reproduces = [reproduces]
    return StudyDescription(**entries | {"reproduces": tuple(reproduces), "cells": tuple(cells), "whole": study})


def _check_entry(name: str, value: object, check: _Check) -> None:
    holds, what = check
    if not holds(value):
        text = repr(value)
        if len(text) > 60:
            text = f"{text[:57]}..."
        raise ValueError(f"{name} is {text}; it must be {what}.")


def _must_be_whole(least: int, most: int) -> _Check:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return holds, f"a whole number from {least} to {most}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_alpha(value: Any) -> bool:
    return _is_number(value) and 1e-6 <= value < 0.5


def _is_rope(value: Any) -> bool:
    return _is_number(value) and 0 < value <= 0.1


def _is_metric(value: Any) -> bool:
    return value in ("top1", "top5")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_seeds_or_null(value: Any) -> bool:
    return value is None or _SEEDS[0](value)


def _is_text_mapping(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and all(map(_is_text, value.values())))


def _is_names(value: Any) -> bool:
    return _is_text_or_null(value) or (isinstance(value, list) and all(map(_is_text, value)))


def _is_cells(value: Any) -> bool:
    required = set(CellId._fields)
    return isinstance(value, list) and all(isinstance(cell, dict) and required <= cell.keys() for cell in value)


_SEEDS = _must_be_whole(0, _MOST_SEEDS)
_COUNT = _must_be_whole(0, _MOST)
_TEXT = (_is_text_or_null, "text")
_ENTRIES: Mapping[str, _Check] = {
    "study": _TEXT,
    "description": _TEXT,
    "profile": _TEXT,
    "seeds": _SEEDS,
    "search_trials": _COUNT,
    "first_draws": _COUNT,
    "looks": _must_be_whole(1, _MOST),
    "looks_taken": _COUNT,
    "alpha": (_is_alpha, "a number from 1e-06 to below 0.5, such as 0.05"),
    "rope": (_is_rope, "a fraction between 0 and 0.1 (0.005 stands for 0.5 percentage points)"),
    "metric": (_is_metric, "top1 or top5"),
    "about": (_is_text_mapping, 'an object of names and texts, such as {"sire": "what it is"}'),
    "reproduces": (_is_names, "a list of names of published tables"),
    "cells": (_is_cells, "a list of objects with dataset, backbone, variant and settings"),
}
_CELL: Mapping[str, _Check] = {
    **dict.fromkeys(CellId._fields, (_is_text, "text")),
    "refused": (_is_text_or_null, "text, or null"),
    "seeds": (_is_seeds_or_null, _SEEDS[1]),
}
