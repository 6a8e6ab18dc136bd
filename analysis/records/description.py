"""The description of a study, `study.json`: what the analysis reads of it has its type, or is refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from suite.core.specs import CellId

_NAMED = CellId._fields
_MOST_SEEDS, _MOST = 10_000, 1_000_000  # more would be a slip, and fill the memory
_Holds = Callable[[Any], bool]


def check_study(study: object, where: str) -> dict[str, Any]:
    """The description with every known entry of its type, and a single name in `reproduces` as a list of one.

    Raises:
        ValueError: an entry can't be what it is; the message says what it must be.
    """
    if not isinstance(study, dict):
        raise ValueError(f'{where} must be a JSON object, such as {{"alpha": 0.05}}.')
    for name, (holds, what) in _ENTRIES.items():
        if name in study and not holds(study[name]):
            raise ValueError(f"{where}: {name} is {_shorten_repr(study[name])}; it must be {what}.")
    for number, cell in enumerate(study.get("cells", ()), start=1):
        for name, (holds, what) in _CELL.items():
            if not holds(cell.get(name)):
                raise ValueError(
                    f"{where}: {name} of cell {number} is {_shorten_repr(cell.get(name))}; it must be {what}."
                )
    given = study.get("reproduces")
    return study | ({"reproduces": [given]} if isinstance(given, str) else {})


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
    return isinstance(value, list) and all(isinstance(cell, dict) and set(_NAMED) <= cell.keys() for cell in value)


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
    **{name: (lambda value: isinstance(value, str), "text") for name in _NAMED},
    "refused": (_is_text, "text, or null"),
    "seeds": (lambda value: value is None or _SEEDS[0](value), _SEEDS[1]),
}
