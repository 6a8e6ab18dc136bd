"""Numbers as people read them: percent, percentage points, millions. Files and JSON keep fractions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

NONE = "–"


def format_percent(fraction: float | None, decimals: int = 2) -> str:
    """`8.31` for 0.0831, without the sign %."""
    if fraction is None:
        return NONE
    return f"{_round_percent(fraction, decimals):.{decimals}f}"


def format_points(fraction: float | None, decimals: int = 2) -> str:
    """`+0.31` percentage points, without the unit; what rounds to zero is `+0.00`."""
    if fraction is None:
        return NONE
    return f"{_round_percent(fraction, decimals):+.{decimals}f}"


def _round_percent(fraction: float, decimals: int) -> float:
    """In percent; adding 0.0 turns -0.0 into 0.0."""
    return round(100 * fraction, decimals) + 0.0


def choose_decimals(halves: Iterable[float | None]) -> int:
    """How many decimals of a percent a table's figures are worth: the middle half-width (fraction) has two digits.

    One number for the whole table, that its columns can be read down; 1 to 3, and 2 where no half-width is known.
    """
    known = sorted(half for half in halves if half is not None and 0 < half < math.inf)
    if not known:
        return 2
    return min(3, max(1, 1 - math.floor(math.log10(100 * known[len(known) // 2]))))


def format_size(fraction: float) -> str:
    """An unsigned amount of percentage points, `0.5` for the 0.005 that a study declares."""
    if fraction < 0.1:
        return f"{100 * fraction:.2g}"
    return f"{100 * fraction:.0f}"


def format_interval(low: float | None, high: float | None, decimals: int = 2) -> str:
    """`-0.30 .. +0.90`, in percentage points."""
    if low is None or high is None:
        return NONE
    return f"{format_points(low, decimals)} .. {format_points(high, decimals)}"


def format_level(alpha: float) -> str:
    """`95 %` for alpha 0.05."""
    return f"{100 * (1 - alpha):.3g} %"


def format_p_value(p: float | None) -> str:
    """`0.012`, `< 0.0001`; `0.0496` has a third digit, for two would read as 0.05."""
    if p is None:
        return NONE
    if p < 0.0001:
        return "< 0.0001"
    if 0.0495 <= p < 0.0505:
        return f"{p:.3g}"
    return f"{p:.2g}"


def format_p(p: float | None) -> str:
    """`p = 0.012`, `p < 0.0001`."""
    text = format_p_value(p)
    if text.startswith("<"):
        return f"p {text}"
    return f"p = {text}"


def shorten_text(text: str, length: int) -> str:
    """At most `length` characters, cut in the middle: names of cells differ at their ends."""
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[len(text) - end :]}"


def format_count(number: float | None) -> str:
    """`1.23 M`: three digits and k, M or G."""
    if number is None:
        return NONE
    if not math.isfinite(number):
        return str(number)
    if number < 999.5:
        return f"{number:.0f}"
    digits = float(f"{number:.3g}")  # rounded first: 999,999 is 1 M, not 1000 k
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if digits >= 100 * factor:
            return f"{digits / factor:.0f} {unit}"
        if digits >= factor:
            return f"{digits / factor:.3g} {unit}"
    raise AssertionError("999.5 and more is at least 1 k")


def format_seconds(number: float | None) -> str:
    """Seconds of training: `2.4`, `153`."""
    if number is None or not math.isfinite(number):
        return NONE
    if number < 10:
        return f"{number:.1f}"
    return f"{number:.0f}"


def format_hours(number: float | None) -> str:
    """Hours for a number of seconds: `0.021`, `3.4`, `153`."""
    if number is None or not math.isfinite(number):
        return NONE
    spent = number / 3600
    if spent >= 99.5:
        return f"{spent:.0f}"
    return f"{spent:.2g}"


def format_plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    ending = "" if number == 1 else "s"
    return f"{number} {noun}{ending}"


def format_ranges(numbers: Iterable[int]) -> str:
    """`0-3, 7` for 0, 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [f"{run[0]}-{run[-1]}" for run in runs]
    for index, run in enumerate(runs):
        if len(run) == 1:
            texts[index] = str(run[0])
    return ", ".join(texts)


def make_slug(*parts: object, most: int = 32) -> str:
    """A part of a file's name: `parquet(path=cifar10)` is `parquet-path-cifar10`; each part at most so long."""
    words = []
    for part in parts:
        word = re.sub(r"[^a-z0-9]+", "-", str(part).lower())
        words.append(word.strip("-")[:most].strip("-"))
    return "-".join(filter(None, words))


def slug_of_name(name: str) -> str:
    """A name as a part of a table's id, which is never empty."""
    return make_slug(name, most=60) or "unnamed"
