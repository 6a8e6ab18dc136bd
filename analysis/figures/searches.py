"""The searches: validation error by trial with the best so far, and which hyperparameters mattered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.drawing import Drawing
from analysis.figures.histories import read_measured
from analysis.figures.importance import LEAST_TRIALS, compute_importances
from analysis.figures.series import FigureCells, split_cells
from analysis.figures.style import (
    BLACK,
    GREY,
    LIGHT,
    LINE,
    SeriesStyle,
    draw_legend,
    legend_lines,
    make_figure,
    make_handle,
    set_upward_axis,
    shorten_name,
    spans_decades,
    use_style,
    whole_numbers,
)
from analysis.formatting import format_plural
from analysis.records.model import CellResults
from analysis.verdicts.results import StudyResults
from suite.core.records import Record

_STATUSES = {"completed": "o", "stopped": "v", "diverged": "x", "failed": "+"}  # the rest: a dot
_WITHOUT_ERROR = 1.06  # where trials without an error stand, above the axes


def search_history(findings: StudyResults) -> Iterator[Drawing]:
    """Per group, up to six variants beside the baseline: every search trial and the best error so far."""
    for group in findings.groups:
        for cast in split_cells(group, lambda cell: bool(cell.search)):
            with use_style():
                figure = _draw_history(cast)
            caption = (
                "Each marker is one trial of the search, in order; each stepped line is the lowest validation error so "
                "far of completed trials. Trials without an error stand above the panel. A search that still falls at "
                f"its right end was too short.{_without_importance(cast)}"
            )
            yield Drawing(cast.figure_id("search"), f"Search history: {cast.title}", caption, figure)


def parameter_importance(findings: StudyResults) -> Iterator[Drawing]:
    """Per group, of the cells with enough completed search trials to tell."""
    for group in findings.groups:
        found = {cell.cell_id: compute_importances(_list_completed(cell)) for cell in group.cells}
        for cast in split_cells(group, lambda cell, found=found: bool(found[cell.cell_id])):  # type: ignore[misc]
            shares = [found[cell.cell_id] for cell, _ in cast.cells]
            with use_style():
                figure = _draw_importance(cast, shares)
            fewest = min(len(_list_completed(cell)) for cell, _ in cast.cells)
            caption = (
                "Share of the spread of validation errors that each hyperparameter explains (fANOVA, Hutter et al. "
                "2014), over completed search trials. A grey tick: an equal share for all, about what hyperparameters "
                f"without any influence get. From as few as {format_plural(fewest, 'trial')} this is a hint, not a "
                "test."
            )
            yield Drawing(cast.figure_id("importance"), f"Parameter importance: {cast.title}", caption, figure)


def _list_completed(cell: CellResults) -> list[Record]:
    return [trial for trial in cell.search if trial.status == "completed" and _read_error(trial) is not None]


def _read_error(trial: Record) -> float | None:
    return read_measured(trial.validation_top1_error)


def _without_importance(cast: FigureCells) -> str:
    counts = [len(_list_completed(cell)) for cell, _ in cast.cells]
    if max(counts) >= LEAST_TRIALS:
        return ""
    ended = f"at most {max(counts)}" if len(set(counts)) > 1 else str(counts[0])
    return (
        f" No parameter importance is drawn: that takes {LEAST_TRIALS} completed search trials of a cell, "
        f"and these have {ended}."
    )


def _draw_history(cast: FigureCells) -> Figure:
    seen = {str(trial.status) for cell, _ in cast.cells for trial in cell.search}
    kinds = [kind for kind in _STATUSES if kind in seen] + sorted(seen - set(_STATUSES))
    names = [cell.label for cell, _ in cast.cells]
    below = 0.5 + LINE * (legend_lines(names) + 1)
    figure = make_figure(0.4 + 2.1 + below, left=0.7, top=0.4, bottom=below)
    axes = figure.add_subplot()
    for at, (cell, look) in enumerate(cast.cells):
        _draw_trials(axes, cell, look, (at - (len(cast.cells) - 1) / 2) * 0.8 / max(len(cast.cells), 2))
    axes.set(xlabel="search trial", ylabel="validation top-1 error (%)")
    axes.margins(x=0.02)
    errors = [
        100 * error for cell, _ in cast.cells for trial in cell.search if (error := _read_error(trial)) is not None
    ]
    if errors:
        set_upward_axis(axes, errors, spans_decades(errors))
    whole_numbers(axes.xaxis, 12)
    handles = [Line2D([], [], color=look.colour, ls=look.dashes, lw=1.6) for _, look in cast.cells]
    draw_legend(figure, handles, names)
    marks = [Line2D([], [], color=BLACK, ls="none", **_choose_marker(kind)) for kind in kinds]
    where = (0.0, LINE * legend_lines(names) / figure.get_figheight())
    line = {"loc": "lower left", "bbox_to_anchor": where, "ncols": len(kinds), "columnspacing": 1.0}
    figure.legend(marks, [shorten_name(kind, 12) for kind in kinds], borderaxespad=0.3, handletextpad=0.2, **line)
    return figure


def _choose_marker(status: str) -> dict[str, Any]:
    hollow = {} if status == "completed" else {"mfc": "none"}
    return {"marker": _STATUSES.get(status, "."), "ms": 4.5, "mew": 1.2, **hollow}


def _draw_trials(axes: Any, cell: CellResults, look: SeriesStyle, shift: float) -> None:
    best: list[tuple[int, float]] = []
    marks: dict[tuple[str, bool], list[tuple[float, float]]] = {}  # by status, and whether there is an error
    for index, trial in enumerate(cell.search, start=1):
        error = _read_error(trial)
        place = (index + shift, _WITHOUT_ERROR if error is None else 100 * error)
        marks.setdefault((str(trial.status), error is not None), []).append(place)
        if error is not None and trial.status == "completed":
            best.append((index, min(100 * error, best[-1][1] if best else math.inf)))
    for (status, known), places in marks.items():
        where = {} if known else {"transform": axes.get_xaxis_transform(), "clip_on": False}
        axes.plot(*zip(*places, strict=True), ls="none", color=look.colour, **_choose_marker(status), **where)
    if best:
        best.append((len(cell.search), best[-1][1]))
        steps = {"ls": look.dashes, "lw": 1.4, "drawstyle": "steps-post"}
        axes.plot(*zip(*best, strict=True), color=look.colour, **steps)


def _draw_importance(cast: FigureCells, shares: Sequence[dict[str, float]]) -> Figure:
    names = list(dict.fromkeys(name for own in shares for name in own))
    names.sort(key=lambda name: -max(own.get(name, 0.0) for own in shares))
    labels = [cell.label for cell, _ in cast.cells]
    below, row = 0.5 + LINE * legend_lines(labels), 0.16 + 0.11 * len(shares)
    figure = make_figure(0.1 + row * len(names) + below, left=1.6, top=0.1, bottom=below)
    axes = figure.add_subplot()
    for at, (own, (_, look)) in enumerate(zip(shares, cast.cells, strict=True)):
        shift = (at - (len(shares) - 1) / 2) * 0.7 / max(len(shares), 2)
        for name, share in own.items():
            y = names.index(name) + shift
            axes.plot([0, share], [y, y], color=look.colour, lw=1.0, alpha=0.6)
            axes.plot([1 / len(own)], [y], marker="|", ms=5, color=GREY)
            axes.plot([share], [y], marker=look.marker, ms=4.5, color=look.colour)
    for line in range(1, len(names)):
        axes.axhline(line - 0.5, color=LIGHT, lw=0.6)
    axes.set_yticks(range(len(names)), [shorten_name(name, 24) for name in names], color=BLACK)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xlabel="importance (share of the explained spread)")
    axes.tick_params(axis="y", length=0)
    draw_legend(figure, [make_handle(look, line=False) for _, look in cast.cells], labels)
    return figure
