"""Error against cost: parameters, multiply-accumulates, seconds of training; the Pareto front drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.drawing import Drawing
from analysis.figures.histories import read_measured
from analysis.figures.labels import label_points
from analysis.figures.style import (
    BASELINE_LOOK,
    GREY,
    LINE,
    LOOKS,
    SeriesStyle,
    draw_legend,
    legend_lines,
    make_figure,
    make_handle,
    make_logarithmic,
    set_upward_axis,
    shorten_name,
    spans_decades,
    use_style,
)
from analysis.formatting import format_count, format_plural, make_slug
from analysis.records.model import CellResults
from analysis.verdicts.results import StudyResults
from suite.core.specs import CellId

_COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("parameters", "trainable parameters", format_count),
    ("macs", "multiply-accumulates per image, as trained", format_count),
    ("train_seconds", "seconds of training, mean over seeds", "{:g}".format),
)
_MOST_BACKBONES = 6  # named beside their baseline and joined to their variants
_OTHER = SeriesStyle(GREY, "o", "-")
_PANEL = 1.75  # inches


Place = tuple[float, float]  # cost and error (%)


@dataclass(frozen=True)
class Point:
    """A cell's mean error (%) and its costs; a cost that nothing measured is absent."""

    cell: CellResults
    error: float
    costs: Mapping[str, float]


def draw_pareto(findings: StudyResults) -> Iterator[Drawing]:
    """One figure per dataset, a panel per cost."""
    metric = findings.records.metric
    for dataset in dict.fromkeys(group.dataset for group in findings.groups):
        groups = [group for group in findings.groups if group.dataset == dataset]
        cells = [cell for group in groups for cell in group.cells if not cell.refused]
        points = [
            point for cell in cells if not _is_incomparable(findings, cell) and (point := _make_point(cell, metric))
        ]
        costs = [cost for cost in _COSTS if sum(cost[0] in point.costs for point in points) > 1]
        if not costs:
            continue
        with use_style():
            figure = _draw_pareto(points, costs, metric)
        left_out = len(cells) - len(points)
        missing = f" Left out: {format_plural(left_out, 'cell')} that can't be compared." if left_out else ""
        caption = (
            "Lower is better, further left is cheaper. The stepped line is the Pareto front: no cell is at once better "
            "and cheaper than those on it. Thin lines lead from a baseline to its variants, where they are few. Errors "
            "are means over seeds and carry the uncertainty that the tables give. A triangle at the upper edge: an "
            f"error beyond the axis.{missing}"
        )
        yield Drawing(make_slug("pareto", dataset), f"Error against cost: {dataset}", caption, figure)


def _is_incomparable(findings: StudyResults, cell: CellResults) -> bool:
    verdict = findings.by_cell.get(cell.cell_id)
    return verdict is not None and verdict.verdict == "NOT COMPARABLE"


def _make_point(cell: CellResults, metric: str) -> Point | None:
    errors = cell.errors_by_seed(metric)
    if not errors or cell.describe_gap(metric):  # an average over unequal sets is refused
        return None
    costs = {}
    for name, _, _ in _COSTS:
        told = [read_measured(getattr(trial, name)) for trial in cell.confirm if trial.status == "completed"]
        known = [float(value) for value in told if value is not None and value > 0]
        if known:
            costs[name] = sum(known) / len(known)
    return Point(cell, 100 * sum(errors.values()) / len(errors), costs)


def find_front(points: Sequence[Point], cost: str) -> list[Point]:
    """The points that no other beats in error and cost at once, cheapest first."""
    best: list[Point] = []
    for point in sorted((one for one in points if cost in one.costs), key=lambda one: (one.costs[cost], one.error)):
        if not best or point.error < best[-1].error:
            best.append(point)
    return best


def _draw_pareto(points: Sequence[Point], costs: Sequence[tuple[str, str, Any]], metric: str) -> Figure:
    variants = list(dict.fromkeys(point.cell.label for point in points if not point.cell.is_baseline))
    few = len(variants) <= len(LOOKS)
    looks = dict(zip(variants, LOOKS, strict=False)) if few else dict.fromkeys(variants, _OTHER)
    top = _find_top([point.error for point in points])
    visible = [point for point in points if point.error <= top]
    fronts = {name: find_front(visible, name) for name, _, _ in costs}
    on_front = dict.fromkeys(point.cell.cell_id for own in fronts.values() for point in own)
    numbers = {} if few else {name: place for place, name in enumerate(on_front, start=1)}
    handles, names = _make_legend(looks, few, numbers)
    below = 0.5 + LINE * legend_lines(names)
    figure = make_figure((_PANEL + 0.5) * len(costs) - 0.5 + 0.12 + below, left=0.7, top=0.12, bottom=below)
    figure.subplots_adjust(hspace=0.5 / _PANEL)
    for place, (name, title, text) in enumerate(costs):
        axes = figure.add_subplot(len(costs), 1, place + 1)
        measured = [point for point in points if name in point.costs]
        _draw_panel(axes, measured, name, looks, top)
        steps = [_locate_point(point, name) for point in fronts[name]]
        axes.plot(*zip(*steps, strict=True), color=GREY, lw=1.2, drawstyle="steps-post", zorder=2)
        axes.set(xlabel=title, ylabel=f"test {'top-5' if 'top5' in metric else 'top-1'} error (%)")
        _scale_axes(axes, [point.costs[name] for point in measured], [point.error for point in visible], text)
        labels = _name_backbones(visible, name) if few else _number_steps(fronts[name], name, numbers)
        label_points(axes, labels, [_locate_point(point, name) for point in visible if name in point.costs])
    draw_legend(figure, handles, names)
    return figure


def _locate_point(point: Point, cost: str) -> Place:
    return point.costs[cost], point.error


def _make_legend(
    looks: Mapping[str, SeriesStyle], few: bool, numbers: Mapping[CellId, int]
) -> tuple[list[Any], list[str]]:
    front = Line2D([], [], color=GREY, lw=1.2)
    base = make_handle(BASELINE_LOOK, line=False)
    if few:
        return [base, *(make_handle(look, line=False) for look in looks.values()), front], [
            "baseline",
            *looks,
            "Pareto front",
        ]
    entries = [
        f"{number}: {variant}{f' ({settings})' if settings else ''} on {backbone}"
        for (_, backbone, variant, settings), number in numbers.items()
    ]
    nothing = [Line2D([], [], ls="none")] * len(entries)
    return [base, make_handle(_OTHER, line=False), front, *nothing], ["baseline", "variant", "Pareto front", *entries]


def _draw_panel(axes: Any, points: Sequence[Point], cost: str, looks: Mapping[str, SeriesStyle], top: float) -> None:
    baselines = {point.cell.backbone: point for point in points if point.cell.is_baseline}
    joined = len(baselines) <= _MOST_BACKBONES and len(points) <= 30
    for point in points:
        look = looks.get(point.cell.label, BASELINE_LOOK)
        start = baselines.get(point.cell.backbone)
        if point.error > top:
            place = axes.get_xaxis_transform()
            axes.plot([point.costs[cost]], [1.0], marker="^", ms=7, color=look.colour, transform=place, clip_on=False)
            continue
        if joined and start is not None:
            line = [(start.costs[cost], point.costs[cost]), (start.error, point.error)]
            axes.plot(*line, color=look.colour, lw=0.7, alpha=0.6, zorder=1)
        axes.plot(
            [point.costs[cost]], [point.error], marker=look.marker, ms=6, color=look.colour, mec="white", zorder=3
        )


def _find_top(errors: Sequence[float]) -> float:
    """The largest error that an axis shows: a network that learned nothing would press all others flat."""
    typical = sorted(errors)[(len(errors) - 1) // 2]
    return max(error for error in errors if error <= max(4 * typical, 1.0))


def _scale_axes(axes: Any, costs: Sequence[float], errors: Sequence[float], text: Any) -> None:
    axes.margins(x=0.08, y=0.15)
    if max(costs) / min(costs) >= 5:
        make_logarithmic(axes, "x", text)
    else:
        axes.xaxis.set_major_formatter(lambda value, _: text(value))
        axes.locator_params(axis="x", nbins=6)
    set_upward_axis(axes, errors, spans_decades(errors))


def _number_steps(steps: Sequence[Point], cost: str, numbers: Mapping[CellId, int]) -> list[tuple[Place, str]]:
    return [(_locate_point(point, cost), str(numbers[point.cell.cell_id])) for point in steps]


def _name_backbones(points: Sequence[Point], cost: str) -> list[tuple[Place, str]]:
    """Names for the baselines, where there are several but not many."""
    baselines = [point for point in points if point.cell.is_baseline and cost in point.costs]
    if not 1 < len(baselines) <= _MOST_BACKBONES:
        return []
    return [(_locate_point(point, cost), shorten_name(point.cell.backbone, 22)) for point in baselines]
