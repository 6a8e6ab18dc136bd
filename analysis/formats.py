"""Numbers as people read them: percent, percentage points, millions. Files and JSON keep fractions."""

from __future__ import annotations

import math
from collections.abc import Iterable

NONE = "–"


def percent(fraction: float | None) -> str:
    """`8.31` for 0.0831, without the sign %."""
    return NONE if fraction is None else f"{100 * fraction:.2f}"


def points(fraction: float | None) -> str:
    """`+0.31` percentage points, without the unit."""
    return NONE if fraction is None else f"{100 * fraction + 0.0:+.2f}"


def size(fraction: float) -> str:
    """An unsigned amount of percentage points, `0.5` for the 0.005 that a study declares."""
    return f"{100 * fraction:.2g}" if fraction < 0.1 else f"{100 * fraction:.0f}"


def interval(low: float | None, high: float | None) -> str:
    """`-0.30 .. +0.90`, in percentage points."""
    return NONE if low is None or high is None else f"{points(low)} .. {points(high)}"


def level(alpha: float) -> str:
    """`95 %` for alpha 0.05."""
    return f"{100 * (1 - alpha):.3g} %"


def p_value(p: float | None) -> str:
    """`0.012`, `< 0.0001`."""
    if p is None:
        return NONE
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def p_is(p: float | None) -> str:
    """`p = 0.012`, `p < 0.0001`."""
    return f"p {p_value(p)}" if p is not None and p < 0.0001 else f"p = {p_value(p)}"


def shortened(text: str, length: int) -> str:
    """At most `length` characters, cut in the middle: names of cells differ at their ends."""
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[len(text) - end :]}"


def count(number: float | None) -> str:
    """`1.23 M`: three digits and k, M or G."""
    if number is None:
        return NONE
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.0f}"


def seconds(number: float | None) -> str:
    """Seconds of training: `2.4`, `153`."""
    if number is None or not math.isfinite(number):
        return NONE
    return f"{number:.1f}" if number < 10 else f"{number:.0f}"


def plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def ranges(numbers: Iterable[int]) -> str:
    """`0-3, 7` for 0, 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
