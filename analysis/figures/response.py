"""How a variant's gain answers to one of its settings: lambda, strides, decoders."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

from matplotlib.figure import Figure

import analysis.figures.style as style
from analysis.figures.drawing import Drawing
from analysis.figures.forest import reach_of
from analysis.figures.importance import parse_number
from analysis.formatting import format_level, format_plural, make_slug
from analysis.verdicts.model import Verdict
from analysis.verdicts.results import StudyResults
from suite.core.specs import format_settings, parse_settings

LEAST_VALUES = 3  # two values are two rows of the forest plot
_LOOKS = (style.BASELINE_LOOK, *style.LOOKS[:5])
_DEFAULT = "default"  # the records don't name a setting that has its default value

ByValue = dict[str, Verdict]  # of one dataset and backbone, all other settings equal


def draw_responses(findings: StudyResults) -> Iterator[Drawing]:
    """One figure per variant and setting that took at least three values with all others equal."""
    records = findings.records
    for (variant, setting), lines in _collect_lines(findings.verdicts).items():
        shown = [(name, line) for name, line in lines.items() if len(line) >= LEAST_VALUES]
        parts = style.split_evenly(shown, len(_LOOKS))
        for number, part in enumerate(parts, start=1):
            caption = (
                f"Gain over the baseline by the value of {setting}: the mean difference with its "
                f"{format_level(records.alpha)} interval, above zero better. In the grey band a difference is too "
                f"small to matter. A triangle at the edge: the mean lies beyond the axis."
            )
            verdicts = list(chain.from_iterable(line.values() for _, line in part))
            lost = sum(verdict.mean_difference is None for verdict in verdicts)
            if lost:
                caption += f" A cross at the foot: not comparable, {format_plural(lost, 'cell')} (the table says why)."
            id, title = make_slug("response", variant, setting), f"Response: {variant} to {setting}"
            if len(parts) > 1:
                id, title = f"{id}-{number}", f"{title} ({number} of {len(parts)})"
            half = style.axis_reach([reach_of(verdict) for verdict in verdicts], least=150 * records.rope)
            yield Drawing(id, title, caption, _draw_response(setting, dict(part), half, records.rope))


def _collect_lines(verdicts: Sequence[Verdict]) -> dict[tuple[str, str], dict[str, ByValue]]:
    """Lines by name for each variant and setting; a cell has the default of what only others of its variant set."""
    settings_of: dict[str, dict[str, str]] = {}
    for verdict in verdicts:
        settings_of.setdefault(verdict.variant, {}).update(parse_settings(verdict.settings))
    lines: dict[tuple[str, str], dict[str, ByValue]] = {}
    for verdict in verdicts:
        for setting in settings_of[verdict.variant]:
            others = parse_settings(verdict.settings)
            value = others.pop(setting, _DEFAULT)
            name = f"{verdict.dataset} / {verdict.backbone}"
            if others:
                name += f", {format_settings(tuple(others.items()))}"
            lines.setdefault((verdict.variant, setting), {}).setdefault(name, {})[value] = verdict
    return lines


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
    numbers: dict[str, float] = {}
    for value in values:
        number = parse_number(value)
        if number is not None:
            numbers[value] = number
    if len(numbers) < 2 or not {_DEFAULT, *numbers}.issuperset(values):
        return Axis({value: float(place) for place, value in enumerate(values)}, frozenset(), log=False)
    least = min((number for number in numbers.values() if number > 0), default=math.inf)
    log = min(numbers.values()) >= 0 and max(numbers.values()) / least >= 8
    places = dict(numbers)
    if log:
        places = {value: math.log10(number) for value, number in numbers.items() if number > 0}
    joined = frozenset(places)
    low, high = min(places.values()), max(places.values())
    step = 0.16 * (high - low or 1.0)
    for value in (*numbers, _DEFAULT):
        if value in values and value not in places:
            low -= step
            places[value] = low
    return Axis(places, joined, log)


@style.use_style()
def _draw_response(setting: str, lines: Mapping[str, ByValue], half: float, rope: float) -> Figure:
    names, looks = list(lines), _LOOKS[: len(lines)]
    values = list(dict.fromkeys(chain.from_iterable(lines.values())))
    axis = axis_of(values)
    long = sum(map(len, values)) + 3 * len(values) > 72
    figure = style.make_figure(2.4, left=0.74, top=0.15, bottom=1.0 if long else 0.5, legend=names)
    axes = figure.add_subplot()
    axes.axhspan(-100 * rope, 100 * rope, color=style.LIGHT, lw=0, zorder=0)
    axes.axhline(0, color=style.GREY, lw=0.8, zorder=1)
    low, high = min(axis.places.values()), max(axis.places.values())
    width = high - low or 1.0
    axes.set(xlim=(low - 0.06 * width, high + 0.06 * width), ylim=(-half, half))
    for at, (line, look) in enumerate(zip(lines.values(), looks, strict=True)):
        _draw_line(axes, axis, line, look, (at - (len(lines) - 1) / 2) * 0.012 * width)
    scale = " (log scale)" if axis.log else ""
    axes.set(xlabel=style.shorten_name(setting, 60) + scale, ylabel="baseline − variant (pp), up is better")
    _draw_ticks(axes, axis.places, long)
    style.draw_legend(figure, style.make_handles(looks), names)
    return figure


def _draw_line(axes: Any, axis: Axis, line: ByValue, look: style.SeriesStyle, shift: float) -> None:
    """A line's means with their intervals, moved aside by `shift` so that lines don't hide each other."""
    _, half = axes.get_ylim()
    joined = []
    for value, verdict in line.items():
        x = axis.places[value] + shift
        if verdict.mean_difference is None:
            foot = axes.get_xaxis_transform()
            axes.plot([x], [0.03], "x", color=look.colour, ms=6, mew=1.6, transform=foot, clip_on=False)
            continue
        if verdict.ci_low is not None and verdict.ci_high is not None:
            axes.plot([x, x], [100 * verdict.ci_low, 100 * verdict.ci_high], color=look.colour, lw=1.6, alpha=0.7)
        mean = 100 * verdict.mean_difference
        y, marker, size = mean, look.marker, 5
        if mean > half:
            y, marker, size = half, "^", 8
        elif mean < -half:
            y, marker, size = -half, "v", 8
        axes.plot([x], [y], marker=marker, color=look.colour, ms=size, clip_on=False, zorder=4)
        if value in axis.joined:
            joined.append((x, mean))
    if joined:
        axes.plot(*zip(*sorted(joined), strict=True), color=look.colour, ls=look.dashes, lw=1.0, zorder=2)


def _draw_ticks(axes: Any, places: Mapping[str, float], long: bool) -> None:
    """A tick at each value; where two would touch, the later one goes without its name."""
    low, high = axes.get_xlim()
    point = (high - low) / 370  # in the axis' units
    rotation, side, length = (35, "right", 14) if long else (0, "center", 18)
    labels, end = [], -math.inf
    for value, x in sorted(places.items(), key=itemgetter(1)):
        text = style.shorten_name(value, length)
        half = 0.5 * point * (10.0 if long else 5.6 * len(text) + 4)
        if x - half < end:
            text = ""
        else:
            end = x + half
        labels.append(text)
    axes.set_xticks(sorted(places.values()), labels, color=style.BLACK, rotation=rotation, ha=side)
