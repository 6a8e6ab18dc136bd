"""Error against cost: parameters, multiply-accumulates, seconds of training; the Pareto front drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from statistics import median_low
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

import analysis.figures.style as style
from analysis.figures.drawing import Drawing
from analysis.formatting import format_count, format_plural, make_slug
from analysis.records.histories import read_measured
from analysis.records.model import CellResults
from analysis.verdicts.results import StudyResults
from suite.core.specs import CellId

# Field of a record -> the axis' label, and how its ticks are written.
_COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("trainable parameters", format_count),
    "macs": ("multiply-accumulates per image, as trained", format_count),
    "train_seconds": ("seconds of training, mean over seeds", "{:g}".format),
}
_MOST_BACKBONES = 6  # named beside their baseline and joined to their variants
_OTHER = style.SeriesStyle(style.GREY, "o", "-")
_PANEL = 1.75  # inches
_LETTER, _HEIGHT, _MARKER = 5.6, 10.0, 4.0  # points: width of a letter, height of a line, half a marker
_GAP = 6.0

Place = tuple[float, float]  # cost and error (%)


@dataclass(frozen=True)
class Point:
    """A cell's mean error (%) and its costs; a cost that nothing measured is absent."""

    cell: CellResults
    error: float
    costs: Mapping[str, float]

    def place(self, cost: str) -> Place:
        return self.costs[cost], self.error


def draw_pareto(findings: StudyResults) -> Iterator[Drawing]:
    """One figure per dataset, a panel per cost."""
    by_dataset: dict[str, list[Point]] = {}
    left_out: Counter[str] = Counter()
    for cell in chain.from_iterable(group.cells for group in findings.groups):
        point = _make_point(findings, cell)
        if point is not None:
            by_dataset.setdefault(cell.dataset, []).append(point)
        elif not cell.refused:
            left_out[cell.dataset] += 1
    for dataset, points in by_dataset.items():
        costs = [cost for cost in _COSTS if len(_with_cost(points, cost)) > 1]
        if not costs:
            continue
        caption = (
            "Lower is better, further left is cheaper. The stepped line is the Pareto front: no cell is at once better "
            "and cheaper than those on it. Thin lines lead from a baseline to its variants, where they are few. Errors "
            "are means over seeds and carry the uncertainty that the tables give. A triangle at the upper edge: an "
            "error beyond the axis."
        )
        if left_out[dataset]:
            caption += f" Left out: {format_plural(left_out[dataset], 'cell')} that can't be compared."
        figure = _draw_pareto(points, costs, findings.records.study.metric.replace("top", "top-"))
        yield Drawing(make_slug("pareto", dataset), f"Error against cost: {dataset}", caption, figure)


def _make_point(findings: StudyResults, cell: CellResults) -> Point | None:
    """None where the cell can't be compared: an average over unequal sets of seeds is refused."""
    metric = findings.records.metric
    verdict = findings.by_cell.get(cell.cell_id)
    errors = cell.errors_by_seed(metric)
    if not errors or cell.describe_gap(metric) or (verdict and verdict.verdict == "NOT COMPARABLE"):
        return None
    costs = {}
    for cost in _COSTS:
        values = []
        for trial in cell.confirm:
            value = read_measured(getattr(trial, cost))
            if trial.status == "completed" and value is not None and value > 0:
                values.append(value)
        if values:
            costs[cost] = sum(values) / len(values)
    return Point(cell, 100 * sum(errors.values()) / len(errors), costs)


def find_front(points: Sequence[Point], cost: str) -> list[Point]:
    """The points that no other beats in error and cost at once, cheapest first."""
    front: list[Point] = []
    for point in sorted(_with_cost(points, cost), key=lambda point: point.place(cost)):
        if not front or point.error < front[-1].error:
            front.append(point)
    return front


def _with_cost(points: Sequence[Point], cost: str) -> list[Point]:
    return [point for point in points if cost in point.costs]


@style.use_style()
def _draw_pareto(points: Sequence[Point], costs: Sequence[str], metric: str) -> Figure:
    variants = dict.fromkeys(point.cell.label for point in points if not point.cell.is_baseline)
    are_few = len(variants) <= len(style.LOOKS)
    looks = dict(zip(variants, style.LOOKS, strict=False)) if are_few else {"variant": _OTHER}
    # A network that learned nothing would press all others flat.
    limit = max(4 * median_low([point.error for point in points]), 1.0)
    visible = [point for point in points if point.error <= limit]
    fronts = {cost: find_front(visible, cost) for cost in costs}
    names = ["baseline", *looks, "Pareto front"]
    handles = style.make_handles([style.BASELINE_LOOK, *looks.values()], ls="none")
    handles.append(Line2D([], [], color=style.GREY, lw=1.2))
    numbers: dict[CellId, str] = {}
    if not are_few:
        for point in chain.from_iterable(fronts.values()):
            numbers.setdefault(point.cell.cell_id, str(len(numbers) + 1))
    for cell, number in numbers.items():
        settings = f" ({cell.settings})" if cell.settings else ""
        names.append(f"{number}: {cell.variant}{settings} on {cell.backbone}")
        handles.append(Line2D([], [], ls="none"))
    figure = style.make_figure((_PANEL + 0.5) * len(costs) - 0.5, left=0.7, top=0.12, legend=names)
    figure.subplots_adjust(hspace=0.5 / _PANEL)
    for row, (cost, front) in enumerate(fronts.items(), start=1):
        axes = figure.add_subplot(len(costs), 1, row)
        axes.set(xlabel=_COSTS[cost][0], ylabel=f"test {metric} error (%)")
        axes.margins(x=0.08, y=0.15)
        _draw_points(axes, _with_cost(points, cost), cost, looks, limit)
        steps = [point.place(cost) for point in front]
        axes.plot(*zip(*steps, strict=True), color=style.GREY, lw=1.2, drawstyle="steps-post", zorder=2)
        style.set_upward_axis(axes, [point.error for point in visible])
        measured = _with_cost(visible, cost)
        labels = _name_backbones(measured, cost)
        if not are_few:
            labels = [(point.place(cost), numbers[point.cell.cell_id]) for point in front]
        _label_points(axes, labels, [point.place(cost) for point in measured])
    style.draw_legend(figure, handles, names)
    return figure


def _draw_points(
    axes: Any, points: Sequence[Point], cost: str, looks: Mapping[str, style.SeriesStyle], limit: float
) -> None:
    baselines = {point.cell.backbone: point for point in points if point.cell.is_baseline}
    are_joined = len(baselines) <= _MOST_BACKBONES and len(points) <= 30
    for point in points:
        look = style.BASELINE_LOOK if point.cell.is_baseline else looks.get(point.cell.label, _OTHER)
        x, y = point.place(cost)
        if y > limit:
            place = axes.get_xaxis_transform()
            axes.plot([x], [1.0], marker="^", ms=7, color=look.colour, transform=place, clip_on=False)
            continue
        baseline = baselines.get(point.cell.backbone)
        if are_joined and baseline is not None:
            ends = [baseline.costs[cost], x]
            axes.plot(ends, [baseline.error, y], color=look.colour, lw=0.7, alpha=0.6, zorder=1)
        axes.plot([x], [y], marker=look.marker, ms=6, color=look.colour, mec="white", zorder=3)
    costs = [point.costs[cost] for point in points]
    _, text = _COSTS[cost]
    if max(costs) / min(costs) >= 5:
        style.make_logarithmic(axes.xaxis, text)
    else:
        axes.xaxis.set_major_formatter(lambda value, _: text(value))
        axes.locator_params(axis="x", nbins=6)


def _name_backbones(points: Sequence[Point], cost: str) -> list[tuple[Place, str]]:
    """Names for the baselines, where there are several but not many."""
    baselines = [point for point in points if point.cell.is_baseline]
    if not 1 < len(baselines) <= _MOST_BACKBONES:
        return []
    return [(point.place(cost), style.shorten_name(point.cell.backbone, 22)) for point in baselines]


def _label_points(axes: Any, labels: Sequence[tuple[Place, str]], points: Sequence[Place]) -> None:
    """Each label at the one of twelve places about its point that covers the fewest points and earlier labels.

    `points` are all of the panel. The limits of the axes have to be final.
    """
    axes.get_xlim(), axes.get_ylim()  # matplotlib settles its limits only when asked
    scale = 72 / axes.figure.dpi
    frame = axes.get_window_extent().extents * scale
    centres = axes.transData.transform(np.reshape(points, (-1, 2))) * scale
    boxes = np.hstack([centres - _MARKER, centres + _MARKER])  # left, bottom, right, top in points

    def rate_box(box: NDArray[np.float64]) -> tuple[bool, int]:
        is_inside = (box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all()
        are_hidden = (box[:2] < boxes[:, 2:]) & (boxes[:, :2] < box[2:])
        return not is_inside, are_hidden.all(axis=1).sum()

    for place, text in labels:
        x, y = axes.transData.transform(place) * scale
        best = min(_list_candidates(x, y, _LETTER * len(text)), key=rate_box)
        boxes = np.vstack([boxes, best])
        shift = (best[0] - x, best[1] - y + 2)
        axes.annotate(text, place, xytext=shift, textcoords="offset points", color=style.BLACK, zorder=5)


def _list_candidates(x: float, y: float, width: float) -> list[NDArray[np.float64]]:
    bottoms = (y + _GAP, y - _GAP - _HEIGHT, y + 2.2 * _GAP + _HEIGHT, y - 2.2 * _GAP - 2 * _HEIGHT)
    lefts = (x + _GAP, x - width / 2, x - _GAP - width)
    return [np.array([left, bottom, left + width, bottom + _HEIGHT]) for bottom, left in product(bottoms, lefts)]
