"""How a variant's gain answers to one of its settings: lambda, strides, decoders."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure

from analysis.figures.drawing import Drawing
from analysis.figures.importance import parse_number
from analysis.figures.style import (
    BASELINE_LOOK,
    BLACK,
    GREY,
    LIGHT,
    LINE,
    LOOKS,
    axis_reach,
    draw_legend,
    legend_lines,
    make_figure,
    make_handle,
    shorten_name,
    split_evenly,
    use_style,
)
from analysis.formatting import format_level, format_plural, make_slug
from analysis.verdicts.model import Verdict
from analysis.verdicts.results import StudyResults
from suite.core.specs import parse_settings

LEAST_VALUES = 3  # two values are two rows of the forest plot
_LOOKS = (BASELINE_LOOK, *LOOKS[:5])
_DEFAULT = "default"  # the records don't name a setting that has its default value


@dataclass(frozen=True)
class Series:
    """One dataset and backbone, all other settings equal: verdicts by the value of the setting."""

    name: str
    verdicts: Mapping[str, Verdict]


def draw_responses(findings: StudyResults) -> Iterator[Drawing]:
    """One figure per variant and setting that took at least three values with all others equal."""
    records = findings.records
    for (variant, setting), lines in _collect_series(findings.verdicts).items():
        parts = split_evenly(lines, len(_LOOKS))
        for place, part in enumerate(parts, start=1):
            with use_style():
                figure = _draw_response(setting, part, records.rope)
            lost = sum(one.mean_difference is None for series in part for one in series.verdicts.values())
            crosses = (
                f" A cross at the foot: not comparable, {format_plural(lost, 'cell')} (the table says why)."
                if lost
                else ""
            )
            caption = (
                f"Gain over the baseline by the value of {setting}: the mean difference with its "
                f"{format_level(records.alpha)} interval, above zero better. In the grey band a difference is too "
                f"small to matter. A triangle at the edge: the mean lies beyond the axis.{crosses}"
            )
            title = f"Response: {variant} to {setting}" + (f" ({place} of {len(parts)})" if len(parts) > 1 else "")
            id = make_slug("response", variant, setting, place if len(parts) > 1 else "")
            yield Drawing(id, title, caption, figure)


def _collect_series(verdicts: Sequence[Verdict]) -> dict[tuple[str, str], list[Series]]:
    """By variant and setting, in the order of the plan."""
    settings = {id(one): parse_settings(one.settings) for one in verdicts}
    names: dict[str, dict[str, None]] = {}
    for one in verdicts:
        names.setdefault(one.variant, {}).update(dict.fromkeys(settings[id(one)]))
    found: dict[tuple[str, str], list[Series]] = {}
    for variant, own in names.items():
        for setting in own:
            lines: dict[str, dict[str, Verdict]] = {}
            for one in verdicts:
                if one.variant == variant:
                    rest = ", ".join(f"{name}={value}" for name, value in settings[id(one)].items() if name != setting)
                    name = f"{one.dataset} / {one.backbone}" + (f", {rest}" if rest else "")
                    lines.setdefault(name, {})[settings[id(one)].get(setting, _DEFAULT)] = one
            told = [Series(name, values) for name, values in lines.items() if len(values) >= LEAST_VALUES]
            if told:
                found[variant, setting] = told
    return found


@dataclass(frozen=True)
class Axis:
    """Where each value stands; those of `joined` share a scale, so a line may lead from one to the next."""

    places: Mapping[str, float]
    joined: frozenset[str]
    log: bool


def axis_of(values: Sequence[str]) -> Axis:
    """The axis for a setting's values.

    Numbers stand in proportion (of their logarithm, where they span a factor of 8), zero and the default at the left;
    other values stand evenly, in the order of the plan.
    """
    numbers = {value: found for value in values if (found := parse_number(value)) is not None}
    if len(numbers) < 2 or any(value not in numbers and value != _DEFAULT for value in values):
        return Axis({value: float(place) for place, value in enumerate(values)}, frozenset(), log=False)
    positive = [found for found in numbers.values() if found > 0]
    log = min(numbers.values()) >= 0 and len(positive) > 1 and max(positive) / min(positive) >= 8
    places = {value: math.log10(found) if log else found for value, found in numbers.items() if found > 0 or not log}
    joined = frozenset(places)
    low, high = min(places.values()), max(places.values())
    step = 0.16 * (high - low or 1.0)
    for value in [value for value in numbers if value not in places] + [value for value in values if value == _DEFAULT]:
        low -= step
        places[value] = low
    return Axis(places, joined, log)


def _draw_response(setting: str, lines: Sequence[Series], rope: float) -> Figure:
    values = list(dict.fromkeys(value for series in lines for value in series.verdicts))
    axis = axis_of(values)
    places = axis.places
    names = [series.name for series in lines]
    long = sum(map(len, values)) + 3 * len(values) > 72
    below = (1.0 if long else 0.5) + LINE * legend_lines(names)
    figure = make_figure(0.15 + 2.4 + below, left=0.74, top=0.15, bottom=below)
    axes = figure.add_subplot()
    axes.axhspan(-100 * rope, 100 * rope, color=LIGHT, lw=0, zorder=0)
    axes.axhline(0, color=GREY, lw=0.8, zorder=1)
    half = axis_reach([_series_extent(one) for series in lines for one in series.verdicts.values()], least=150 * rope)
    axes.set_ylim(-half, half)
    width = max(places.values()) - min(places.values()) or 1.0
    for at, series in enumerate(lines):
        shift = (at - (len(lines) - 1) / 2) * 0.012 * width
        shifted = replace(axis, places={value: x + shift for value, x in places.items()})
        _draw_line(axes, shifted, series, _LOOKS[at], half)
    axes.set_xlim(min(places.values()) - 0.06 * width, max(places.values()) + 0.06 * width)
    axes.set(
        xlabel=shorten_name(setting, 60) + (" (log scale)" if axis.log else ""),
        ylabel="baseline − variant (pp), up is better",
    )
    _draw_ticks(axes, places, long)
    draw_legend(figure, [make_handle(look) for look in _LOOKS[: len(lines)]], names)
    return figure


def _series_extent(one: Verdict) -> float:
    return max(
        (abs(100 * end) for end in (one.mean_difference, one.ci_low, one.ci_high) if end is not None), default=0.0
    )


def _draw_line(axes: Any, axis: Axis, series: Series, look: Any, half: float) -> None:
    joined = []
    for value, one in series.verdicts.items():
        x = axis.places[value]
        if one.mean_difference is None:
            foot = axes.get_xaxis_transform()
            axes.plot([x], [0.03], "x", color=look.colour, ms=6, mew=1.6, transform=foot, clip_on=False)
            continue
        mean = 100 * one.mean_difference
        if one.ci_low is not None and one.ci_high is not None:
            axes.plot([x, x], [100 * one.ci_low, 100 * one.ci_high], color=look.colour, lw=1.6, alpha=0.7)
        marker = look.marker if abs(mean) <= half else "^" if mean > 0 else "v"
        y = max(-half, min(half, mean))
        axes.plot([x], [y], marker=marker, color=look.colour, ms=5 if y == mean else 8, clip_on=False, zorder=4)
        if value in axis.joined:
            joined.append((x, mean))
    joined.sort()
    axes.plot([x for x, _ in joined], [y for _, y in joined], color=look.colour, ls=look.dashes, lw=1.0, zorder=2)


def _draw_ticks(axes: Any, places: Mapping[str, float], long: bool) -> None:
    """A tick at each value; where two would touch, the later one goes without its name."""
    low, high = axes.get_xlim()
    axes.set_xticks(sorted(places.values()))
    shown, end = [], -math.inf
    for value, x in sorted(places.items(), key=lambda item: item[1]):
        text = shorten_name(value, 14 if long else 18)
        half = 0.5 * (10.0 if long else 5.6 * len(text) + 4) * (high - low) / 370  # points to the axis' units
        free = x - half >= end
        shown.append(text if free else "")
        end = x + half if free else end
    axes.set_xticklabels(shown, rotation=35 if long else 0, ha="right" if long else "center", color=BLACK)
