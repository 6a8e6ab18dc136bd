"""Settings that components declare (name, default, range), and one-sentence refusals of wrong ones.

Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from suite.core.errors import UserError, did_you_mean, one_of
from suite.core.specs import Component, freeze_settings


@dataclass(frozen=True)
class Setting:
    """One setting of a component.

    Attributes:
        default: used when a study does not name the setting; its type is the setting's type.
        doc: what it means, with unit and source, for the docs.
        low, high: inclusive range of a number.
        choices: the legal values, where they are few.
        parse: turns what the study says into the canonical value; raises ValueError with a sentence.
        is_weight: it weighs a loss term, so that all positive numbers give one network.
    """

    default: Any
    doc: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    parse: Callable[[Any], Any] | None = None
    is_weight: bool = False

    def parse_value(self, given: Any) -> Any:
        """The canonical value of what a study says; raises ValueError with a sentence."""
        value = self.parse(given) if self.parse else _as_type_of(self.default, given)
        if self.choices and value not in self.choices:
            raise ValueError(one_of(given, self.choices))
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._check_range(value)
        return value

    def _check_range(self, value: float) -> None:
        if not math.isfinite(value):
            raise ValueError(f"must be a finite number, not {value}")
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise ValueError(f"must be {_format_range(self.low, self.high)}, not {value:g}")


def _format_range(low: float | None, high: float | None) -> str:
    if high is None:
        return f"{low:g} or more"
    return f"{high:g} or less" if low is None else f"within {low:g} .. {high:g}"


def _as_type_of(default: Any, given: Any) -> Any:
    if isinstance(default, bool) or isinstance(given, bool):
        if not (isinstance(default, bool) and isinstance(given, bool)):
            raise ValueError(f"must be {_describe_kind(default)}, not {given!r}")
        return given
    if isinstance(default, float) and isinstance(given, int | float):
        return float(given)
    if default is not None and not isinstance(given, type(default)):
        raise ValueError(f"must be {_describe_kind(default)}, not {given!r}")
    return given


def _describe_kind(default: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    return names.get(type(default), f"like {default!r}")


def resolve_settings(declared: Mapping[str, Setting], given: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """All settings of a component: what is given, checked, and the defaults of the rest.

    Raises:
        UserError: an unknown name or an illegal value, as one sentence that starts with `owner`.
    """
    values = {name: setting.default for name, setting in declared.items()}
    for name, value in given.items():
        if name not in declared:
            raise UserError(f"{owner}.{name}: unknown setting{did_you_mean(name, declared)}")
        try:
            values[name] = declared[name].parse_value(value)
        except ValueError as error:
            raise UserError(f"{owner}.{name}: {error}") from error
    return values


def canonicalize_component(declared: Mapping[str, Setting], component: Component, owner: str) -> Component:
    """The component with its values canonical and its defaults left out, so equal cells have equal keys."""
    values = resolve_settings(declared, dict(component.settings), owner)
    kept = {name: value for name, value in values.items() if value != declared[name].default}
    return Component(component.name, freeze_settings(kept))
