"""What stands in one field of a table from elsewhere: text, a number, or nothing."""

from __future__ import annotations

import math

from analysis.records.mlflow_runs import INFINITE

_MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "-", "–"})
_TOO_LARGE = 2**63  # for a column of integers


def parse_text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).strip()


def parse_number(value: object, kind: type) -> float | int | str | None:
    """None where nothing stands; the text itself where it is no number, or no whole one where it must be."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _MISSING):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value)
    if math.isnan(number):
        return None
    if kind is float:
        return number
    return _parse_whole(value, number)


def _parse_whole(value: object, number: float) -> int | str:
    """The value as an integer, exact beyond 2^53 too; its text where it is none, or has more than 64 bits."""
    if not number.is_integer():
        return str(value)
    try:
        exact = int(value)  # type: ignore[call-overload]
    except ValueError:  # 1e6
        exact = int(number)
    return exact if abs(exact) < _TOO_LARGE else str(value)


def says_nan(value: object) -> bool:
    """NaN or an infinity is what a diverged trial leaves; nothing at all is what a lost one leaves."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return math.isnan(number) or abs(number) >= INFINITE
