"""The searches: validation error by trial with the best so far, and which hyperparameters mattered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

import analysis.figures.style as style
from analysis.figures.drawing import Drawing
from analysis.figures.importance import LEAST_TRIALS, compute_importances
from analysis.figures.series import FigureCells, split_cells
from analysis.formatting import format_plural
from analysis.records.histories import read_measured
from analysis.records.model import CellResults
from analysis.verdicts.results import StudyResults
from suite.core.records import Record
from suite.core.specs import CellId

_STATUSES = {"completed": "o", "stopped": "v", "diverged": "x", "failed": "+"}  # the rest: a dot
_WITHOUT_ERROR = 1.06  # where trials without an error stand, above the axes


def search_history(findings: StudyResults) -> Iterator[Drawing]:
    """Per group, up to six variants beside the baseline: every search trial and the best error so far."""
    for group in findings.groups:
        for shown in split_cells(group, lambda cell: bool(cell.search)):
            caption = (
                "Each marker is one trial of the search, in order; each stepped line is the lowest validation error so "
                "far of completed trials. Trials without an error stand above the panel. A search that still falls at "
                "its right end was too short."
            )
            counts = [len(_list_completed(cell)) for cell in shown.cells]
            if max(counts) < LEAST_TRIALS:
                most = "at most " if len(set(counts)) > 1 else ""
                caption += (
                    f" No parameter importance is drawn: that takes {LEAST_TRIALS} completed search trials of a cell, "
                    f"and these have {most}{max(counts)}."
                )
            yield Drawing(shown.figure_id("search"), f"Search history: {shown.title}", caption, _draw_history(shown))


def parameter_importance(findings: StudyResults) -> Iterator[Drawing]:
    """Per group, of the cells with enough completed search trials to tell."""
    shares: dict[CellId, dict[str, float]] = {}
    for cell in chain.from_iterable(group.cells for group in findings.groups):
        shares[cell.cell_id] = compute_importances(_list_completed(cell))
    for group in findings.groups:
        for shown in split_cells(group, lambda cell: bool(shares[cell.cell_id])):
            fewest = format_plural(min(len(_list_completed(cell)) for cell in shown.cells), "trial")
            caption = (
                "Share of the spread of validation errors that each hyperparameter explains (fANOVA, Hutter et al. "
                "2014), over completed search trials. A grey tick: an equal share for all, about what hyperparameters "
                f"without any influence get. From as few as {fewest} this is a hint, not a test."
            )
            figure = _draw_importance(shown, [shares[cell.cell_id] for cell in shown.cells])
            yield Drawing(shown.figure_id("importance"), f"Parameter importance: {shown.title}", caption, figure)


def _list_completed(cell: CellResults) -> list[Record]:
    completed = [trial for trial in cell.search if trial.status == "completed"]
    return [trial for trial in completed if read_measured(trial.validation_top1_error) is not None]


@style.use_style()
def _draw_history(shown: FigureCells) -> Figure:
    names = shown.labels
    figure = style.make_figure(2.1, left=0.7, top=0.4, bottom=0.5 + style.LINE, legend=names)
    axes = figure.add_subplot()
    errors: list[float] = []
    statuses: set[str] = set()
    for at, (cell, look) in enumerate(zip(shown.cells, shown.looks, strict=True)):
        errors += _draw_trials(axes, cell, look, (at - (len(names) - 1) / 2) * 0.8 / max(len(names), 2))
        statuses.update(trial.status for trial in cell.search)
    axes.set(xlabel="search trial", ylabel="validation top-1 error (%)")
    axes.margins(x=0.02)
    if errors:
        style.set_upward_axis(axes, errors)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    style.draw_legend(figure, style.make_handles(shown.looks, marker=""), names)
    marks = []
    for status in (*_STATUSES, *sorted(statuses.difference(_STATUSES))):
        if status in statuses:
            label = style.shorten_name(status, 12)
            marks.append(Line2D([], [], color=style.BLACK, ls="none", label=label, **_choose_marker(status)))
    above = (0.0, style.LINE * style.legend_lines(names) / figure.get_figheight())
    figure.legend(handles=marks, bbox_to_anchor=above, ncols=len(marks), handletextpad=0.2)
    return figure


def _choose_marker(status: str) -> dict[str, Any]:
    marker = {"marker": _STATUSES.get(status, "."), "ms": 4.5, "mew": 1.2}
    if status != "completed":
        marker["mfc"] = "none"
    return marker


def _draw_trials(axes: Any, cell: CellResults, look: style.SeriesStyle, shift: float) -> list[float]:
    """Returns the errors, those of all trials that have one."""
    errors = []
    best: list[tuple[int, float]] = []
    lowest = math.inf
    marks: dict[tuple[str, bool], list[tuple[float, float]]] = {}  # by status, and whether they stand above the axes
    for index, trial in enumerate(cell.search, start=1):
        error = read_measured(trial.validation_top1_error)
        if error is None:
            marks.setdefault((trial.status, True), []).append((index + shift, _WITHOUT_ERROR))
            continue
        error *= 100
        errors.append(error)
        marks.setdefault((trial.status, False), []).append((index + shift, error))
        if trial.status == "completed":
            lowest = min(lowest, error)
            best.append((index, lowest))
    for (status, above), places in marks.items():
        marker = _choose_marker(status)
        if above:
            marker.update(transform=axes.get_xaxis_transform(), clip_on=False)
        axes.plot(*zip(*places, strict=True), ls="none", color=look.colour, **marker)
    if best:
        best.append((len(cell.search), lowest))
        axes.plot(*zip(*best, strict=True), color=look.colour, ls=look.dashes, lw=1.4, drawstyle="steps-post")
    return errors


@style.use_style()
def _draw_importance(shown: FigureCells, shares: Sequence[dict[str, float]]) -> Figure:
    highest: dict[str, float] = {}
    for name, share in chain.from_iterable(by_name.items() for by_name in shares):
        highest[name] = max(share, highest.get(name, 0.0))
    names = sorted(highest, key=lambda name: -highest[name])
    figure = style.make_figure((0.16 + 0.11 * len(shares)) * len(names), left=1.6, top=0.1, legend=shown.labels)
    axes = figure.add_subplot()
    for at, (by_name, look) in enumerate(zip(shares, shown.looks, strict=True)):
        shift = (at - (len(shares) - 1) / 2) * 0.7 / max(len(shares), 2)
        for name, share in by_name.items():
            y = names.index(name) + shift
            axes.plot([0, share], [y, y], color=look.colour, lw=1.0, alpha=0.6)
            axes.plot([1 / len(by_name)], [y], marker="|", ms=5, color=style.GREY)
            axes.plot([share], [y], marker=look.marker, ms=4.5, color=look.colour)
    for line in range(1, len(names)):
        axes.axhline(line - 0.5, color=style.LIGHT, lw=0.6)
    axes.set_yticks(range(len(names)), [style.shorten_name(name, 24) for name in names], color=style.BLACK)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xlabel="importance (share of the explained spread)")
    axes.tick_params(axis="y", length=0)
    style.draw_legend(figure, style.make_handles(shown.looks, ls="none"), shown.labels)
    return figure
