"""Learning curves of the confirm trials: errors and losses by epoch, seeds as bands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

import analysis.figures.style as style
from analysis.figures.drawing import Drawing
from analysis.figures.series import split_cells
from analysis.formatting import format_plural
from analysis.records.histories import Histories
from analysis.records.model import CellResults
from analysis.verdicts.results import StudyResults
from suite.core.records import TEST_CURVE

Numbers = NDArray[np.float64]

# Metric -> its title and the factor to what is printed.
_PANELS = {
    "validation_top1_error": ("validation top-1 error (%)", 100.0),
    "train_top1_error": ("training top-1 error (%)", 100.0),
    "validation_loss": ("validation loss", 1.0),
    "train_loss": ("training loss (as minimised)", 1.0),
    f"{TEST_CURVE}top1_error": ("test top-1 error (%), selects nothing", 100.0),
    f"{TEST_CURVE}loss": ("test loss, selects nothing", 1.0),
}
_MOST_POINTS = 48  # per curve: a point every 3 pt, and a page of hundreds of curves stays small


@dataclass(frozen=True)
class Curves:
    """One metric of a cell's confirm trials, each up to its first value that is not finite.

    Whole trials are a matrix of trial by epoch, over the epochs that all of them have: their mean needs each.
    """

    epochs: Numbers
    values: Numbers
    diverged: list[tuple[Numbers, Numbers]]  # epochs and values of each trial

    def __bool__(self) -> bool:
        return bool(len(self.epochs) or self.diverged)


Panel = tuple[str, float, list[Curves]]  # its title, the factor to what is printed, curves in the legend's order


def learning_curves(findings: StudyResults, histories: Histories) -> Iterator[Drawing]:
    """Per group one figure of all panels for up to six variants, the baseline in each."""
    for group in findings.groups:
        for shown in split_cells(group, lambda cell: any(read_curves(cell, histories, metric) for metric in _PANELS)):
            panels = []
            for metric, (title, factor) in _PANELS.items():
                curves = [read_curves(cell, histories, metric) for cell in shown.cells]
                if any(curves):
                    panels.append((title, factor, curves))
            names = [_name_cell(cell) for cell in shown.cells]
            legend = dict(zip(names, shown.looks, strict=True))
            figure, thinned = draw_panels(panels, legend, height=1.75, left=0.55, alike=True)
            caption = (
                "Each line is the mean over the confirm seeds, its band reaches from the lowest to the highest seed; "
                "lower is better (accuracy is 100 % less the error). A thin line that ends in a cross is a seed whose "
                "training diverged. The training loss holds a variant's extra terms, so it is no measure of who is "
                "better. The upright axes are logarithmic where values span a factor of ten."
            )
            if thinned:
                caption += f" Curves are drawn at {_MOST_POINTS} of the epochs."
            yield Drawing(shown.figure_id("curves"), f"Learning curves: {shown.title}", caption, figure)


def read_curves(cell: CellResults, histories: Histories, metric: str) -> Curves:
    """False where there is nothing to draw: no trial logged the metric, or whole ones share no epoch."""
    whole, diverged = [], []
    for trial in cell.confirm:
        epochs, values = histories.read_curve(trial.trial_key, metric)
        finite = np.logical_and.accumulate(np.isfinite(values))
        if finite.any() and trial.status == "completed":
            whole.append((epochs[finite], values[finite]))
        elif finite.any() and trial.status == "diverged":
            diverged.append((epochs[finite], values[finite]))
    if not whole:
        return Curves(np.empty(0), np.empty((0, 0)), diverged)
    shared = reduce(np.intersect1d, [epochs for epochs, _ in whole])
    return Curves(shared, np.array([values[np.isin(epochs, shared)] for epochs, values in whole]), diverged)


@style.use_style()
def draw_panels(
    panels: Sequence[Panel], legend: Mapping[str, style.SeriesStyle], height: float, left: float, alike: bool
) -> tuple[Figure, bool]:
    """A figure of panels over epochs, and whether epochs were left out; `alike`: a log axis draws others along."""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = style.make_figure(height * rows + 0.5 * (rows - 1), left, top=0.28, legend=list(legend))
    figure.subplots_adjust(hspace=0.5 / height, wspace=0.24)
    thinned, span = False, style.WIDE
    for number, (title, factor, panel) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, number, title=title)
        axes.margins(x=0.02)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        if number > len(panels) - columns:
            axes.set_xlabel("epoch")
        for look, curves in zip(legend.values(), panel, strict=True):
            thinned |= _draw_curves(axes, look, curves, factor)
        if alike and style.spans_factor(_drawn_values(axes), style.WIDE):
            span = 3.0
    for axes in figure.axes:
        style.set_upward_axis(axes, _drawn_values(axes), span)
    style.draw_legend(figure, style.make_handles(legend.values()), list(legend))
    return figure, thinned


def _draw_curves(axes: Any, look: style.SeriesStyle, curves: Curves, factor: float) -> bool:
    """Mean and band of the whole seeds, the diverged ones alone; returns whether epochs were left out."""
    longest = len(curves.epochs)
    if longest:
        at = _thin_indices(longest)
        epochs, values = curves.epochs[at], factor * curves.values[:, at]
        if len(values) > 1:
            axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=look.colour, alpha=0.15, lw=0)
        some = {"markevery": max(1, len(at) // 5), "marker": look.marker, "ms": 3.5}
        axes.plot(epochs, values.mean(axis=0), color=look.colour, ls=look.dashes, lw=1.5, **some)
    for epochs, values in curves.diverged:
        at = _thin_indices(len(epochs))
        longest = max(longest, len(epochs))
        axes.plot(epochs[at], factor * values[at], color=look.colour, ls=look.dashes, lw=0.7, alpha=0.8)
        axes.plot(epochs[-1:], factor * values[-1:], "x", color=look.colour, ms=6, mew=1.6)
    return longest > _MOST_POINTS


def _thin_indices(length: int) -> NDArray[np.intp]:
    """Indices of at most `_MOST_POINTS` of so many, first and last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, _MOST_POINTS)).round().astype(np.intp))


def _drawn_values(axes: Any) -> list[float]:
    values: list[float] = []
    for line in axes.get_lines():
        values += line.get_ydata().tolist()
    return values


def _name_cell(cell: CellResults) -> str:
    diverged = sum(trial.status == "diverged" for trial in cell.confirm)
    if not diverged:
        return cell.label
    return f"{cell.label} ({diverged} of {format_plural(len(cell.confirm), 'seed')} diverged)"
