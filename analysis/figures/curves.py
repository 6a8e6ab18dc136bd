"""Learning curves of the confirm trials: errors and losses by epoch, seeds as bands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures.drawing import Drawing
from analysis.figures.histories import Histories
from analysis.figures.series import FigureCells, split_cells
from analysis.figures.style import (
    LINE,
    SeriesStyle,
    draw_legend,
    legend_lines,
    make_figure,
    make_handle,
    set_upward_axis,
    spans_decades,
    use_style,
    whole_numbers,
)
from analysis.formatting import format_plural
from analysis.records.model import CellResults
from analysis.verdicts.results import StudyResults
from suite.core.records import TEST_CURVE

Line = tuple[NDArray[np.float64], NDArray[np.float64]]  # epochs and values, equally many

# Metric, its title, factor to what is printed.
_PANELS = (
    ("validation_top1_error", "validation top-1 error (%)", 100.0),
    ("train_top1_error", "training top-1 error (%)", 100.0),
    ("validation_loss", "validation loss", 1.0),
    ("train_loss", "training loss (as minimised)", 1.0),
    (f"{TEST_CURVE}top1_error", "test top-1 error (%), selects nothing", 100.0),
    (f"{TEST_CURVE}loss", "test loss, selects nothing", 1.0),
)
_MOST_POINTS = 48  # per curve: a point every 3 pt, and a page of hundreds of curves stays small
_PANEL = 1.75  # inches


def learning_curves(findings: StudyResults, histories: Histories) -> Iterator[Drawing]:
    """Per group one figure of all panels for up to six variants, the baseline in each."""
    for group in findings.groups:
        for cast in split_cells(group, lambda cell: any(cell_curves(cell, histories, name) for name, _, _ in _PANELS)):
            with use_style():
                figure, thinned = _draw_curves(cast, histories)
            caption = (
                "Each line is the mean over the confirm seeds, its band reaches from the lowest to the highest seed; "
                "lower is better (accuracy is 100 % less the error). A thin line that ends in a cross is a seed whose "
                "training diverged. The training loss holds a variant's extra terms, so it is no measure of who is "
                "better. The upright axes are logarithmic where values span a factor of ten."
                + (f" Curves are drawn at {_MOST_POINTS} of the epochs." if thinned else "")
            )
            yield Drawing(cast.figure_id("curves"), f"Learning curves: {cast.title}", caption, figure)


def cell_curves(cell: CellResults, histories: Histories, metric: str) -> list[tuple[bool, Line]]:
    """The confirm trials' curves as (diverged, curve): a curve ends before its first value that is not finite.

    Those of whole trials are left out where they share no epoch: they have no mean.
    """
    found: list[tuple[bool, Line]] = []
    for trial in cell.confirm:
        if trial.status in ("completed", "diverged"):
            epochs, values = histories.read_curve(trial.trial_key, metric)
            broken = np.flatnonzero(np.isnan(values))
            end = broken[0] if len(broken) else len(values)
            if end:
                found.append((trial.status == "diverged", (epochs[:end], values[:end])))
    whole = [curve for diverged, curve in found if not diverged]
    if whole and not len(stack_curves(whole)[0]):
        return [one for one in found if one[0]]
    return found


def stack_curves(curves: Sequence[Line]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epochs that every curve has, and a matrix of curve by epoch."""
    shared = curves[0][0]
    for epochs, _ in curves[1:]:
        shared = np.intersect1d(shared, epochs)
    return shared, np.array([values[np.isin(epochs, shared)] for epochs, values in curves])


def thin_indices(length: int) -> NDArray[np.intp]:
    """Indices of at most `_MOST_POINTS` of so many, first and last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, _MOST_POINTS)).round().astype(np.intp))


def _draw_curves(cast: FigureCells, histories: Histories) -> tuple[Figure, bool]:
    shown = []
    for metric, title, factor in _PANELS:
        drawn = [(look, cell_curves(cell, histories, metric)) for cell, look in cast.cells]
        if any(curves for _, curves in drawn):
            shown.append((title, factor, drawn))
    names = [_name_cell(cell) for cell, _ in cast.cells]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    below = 0.5 + LINE * legend_lines(names)
    figure = make_figure(0.28 + _PANEL * rows + 0.5 * (rows - 1) + below, top=0.28, bottom=below)
    figure.subplots_adjust(hspace=0.5 / _PANEL, wspace=0.24)
    thinned, panels = False, []
    for place, (title, factor, drawn) in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.set_title(title, weight="normal")
        for look, curves in drawn:
            thinned |= draw_curves(axes, look, curves, factor)
        finish_epoch_axis(axes, last_row=place >= len(shown) - columns)
        panels.append((axes, drawn_values(axes)))
    log = any(spans_decades(values) for _, values in panels)
    for axes, values in panels:
        set_upward_axis(axes, values, log)
    draw_legend(figure, [make_handle(look) for _, look in cast.cells], names)
    return figure, thinned


def draw_curves(axes: Any, look: SeriesStyle, curves: Sequence[tuple[bool, Line]], factor: float = 1.0) -> bool:
    """Mean and band of the whole seeds, the diverged ones alone; returns whether epochs were left out."""
    whole = [curve for diverged, curve in curves if not diverged]
    longest = 0
    if whole:
        epochs, values = stack_curves(whole)
        longest = len(epochs)
    if longest:
        at = thin_indices(longest)
        epochs, values = epochs[at], factor * values[:, at]
        if len(whole) > 1:
            axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=look.colour, alpha=0.15, lw=0)
        some = {"markevery": max(1, len(at) // 5), "marker": look.marker, "ms": 3.5}
        axes.plot(epochs, values.mean(axis=0), color=look.colour, ls=look.dashes, lw=1.5, **some)
    for epochs, values in (curve for diverged, curve in curves if diverged):
        at = thin_indices(len(epochs))
        longest = max(longest, len(epochs))
        axes.plot(epochs[at], factor * values[at], color=look.colour, ls=look.dashes, lw=0.7, alpha=0.8)
        axes.plot(epochs[-1:], factor * values[-1:], "x", color=look.colour, ms=6, mew=1.6)
    return longest > _MOST_POINTS


def drawn_values(axes: Any) -> list[float]:
    """Every value of a panel's lines."""
    return [float(value) for line in axes.get_lines() for value in line.get_ydata()]


def finish_epoch_axis(axes: Any, last_row: bool) -> None:
    """The epoch axis of a panel."""
    whole_numbers(axes.xaxis)
    axes.margins(x=0.02)
    if last_row:
        axes.set_xlabel("epoch")


def _name_cell(cell: CellResults) -> str:
    diverged = sum(trial.status == "diverged" for trial in cell.confirm)
    return cell.label + (f" ({diverged} of {format_plural(len(cell.confirm), 'seed')} diverged)" if diverged else "")
