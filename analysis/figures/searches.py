"""The searches: validation error by trial with the best so far, and which hyperparameters mattered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.drawing import Drawing
from analysis.figures.histories import measured
from analysis.figures.importance import LEAST_TRIALS, importances
from analysis.figures.series import Cast, casts
from analysis.figures.style import (
    BLACK,
    GREY,
    LIGHT,
    LINE,
    Look,
    blank,
    handle,
    legend,
    legend_lines,
    named,
    spans,
    styled,
    upwards,
    whole_numbers,
)
from analysis.formatting import plural
from analysis.records.model import CellResults
from analysis.verdicts.results import Findings, cell_name
from suite.core.records import Record

_STATUSES = {"completed": "o", "stopped": "v", "diverged": "x", "failed": "+"}  # the rest: a dot
_WITHOUT_ERROR = 1.06  # where trials without an error stand, above the axes


def search_history(findings: Findings) -> Iterator[Drawing]:
    """Per group, up to six variants beside the baseline: every search trial and the best error so far."""
    for group in findings.groups:
        for cast in casts(group, lambda cell: bool(cell.search)):
            with styled():
                figure = _history(cast)
            caption = (
                "Each marker is one trial of the search, in order; each stepped line is the lowest validation error so "
                "far of completed trials. Trials without an error stand above the panel. A search that still falls at "
                f"its right end was too short.{_without_importance(cast)}"
            )
            yield Drawing(cast.id("search"), f"Search history: {cast.title}", caption, figure)


def parameter_importance(findings: Findings) -> Iterator[Drawing]:
    """Per group, of the cells with enough completed search trials to tell."""
    for group in findings.groups:
        found = {cell_name(cell): importances(_completed(cell)) for cell in group.cells}
        for cast in casts(group, lambda cell, found=found: bool(found[cell_name(cell)])):  # type: ignore[misc]
            shares = [found[cell_name(cell)] for cell, _ in cast.cells]
            with styled():
                figure = _importance(cast, shares)
            fewest = min(len(_completed(cell)) for cell, _ in cast.cells)
            caption = (
                "Share of the spread of validation errors that each hyperparameter explains (fANOVA, Hutter et al. "
                "2014), over completed search trials. A grey tick: an equal share for all, about what hyperparameters "
                f"without any influence get. From as few as {plural(fewest, 'trial')} this is a hint, not a test."
            )
            yield Drawing(cast.id("importance"), f"Parameter importance: {cast.title}", caption, figure)


def _completed(cell: CellResults) -> list[Record]:
    return [trial for trial in cell.search if trial.status == "completed" and _error(trial) is not None]


def _error(trial: Record) -> float | None:
    return measured(trial.validation_top1_error)


def _without_importance(cast: Cast) -> str:
    counts = [len(_completed(cell)) for cell, _ in cast.cells]
    if max(counts) >= LEAST_TRIALS:
        return ""
    ended = f"at most {max(counts)}" if len(set(counts)) > 1 else str(counts[0])
    return (
        f" No parameter importance is drawn: that takes {LEAST_TRIALS} completed search trials of a cell, "
        f"and these have {ended}."
    )


def _history(cast: Cast) -> Figure:
    seen = {str(trial.status) for cell, _ in cast.cells for trial in cell.search}
    kinds = [kind for kind in _STATUSES if kind in seen] + sorted(seen - set(_STATUSES))
    names = [cell.label for cell, _ in cast.cells]
    below = 0.5 + LINE * (legend_lines(names) + 1)
    figure = blank(0.4 + 2.1 + below, left=0.7, top=0.4, bottom=below)
    axes = figure.add_subplot()
    for at, (cell, look) in enumerate(cast.cells):
        _trials(axes, cell, look, (at - (len(cast.cells) - 1) / 2) * 0.8 / max(len(cast.cells), 2))
    axes.set(xlabel="search trial", ylabel="validation top-1 error (%)")
    axes.margins(x=0.02)
    errors = [100 * error for cell, _ in cast.cells for trial in cell.search if (error := _error(trial)) is not None]
    if errors:
        upwards(axes, errors, spans(errors))
    whole_numbers(axes.xaxis, 12)
    handles = [Line2D([], [], color=look.colour, ls=look.dashes, lw=1.6) for _, look in cast.cells]
    legend(figure, handles, names)
    marks = [Line2D([], [], color=BLACK, ls="none", **_marker(kind)) for kind in kinds]
    where = (0.0, LINE * legend_lines(names) / figure.get_figheight())
    line = {"loc": "lower left", "bbox_to_anchor": where, "ncols": len(kinds), "columnspacing": 1.0}
    figure.legend(marks, [named(kind, 12) for kind in kinds], borderaxespad=0.3, handletextpad=0.2, **line)
    return figure


def _marker(status: str) -> dict[str, Any]:
    hollow = {} if status == "completed" else {"mfc": "none"}
    return {"marker": _STATUSES.get(status, "."), "ms": 4.5, "mew": 1.2, **hollow}


def _trials(axes: Any, cell: CellResults, look: Look, shift: float) -> None:
    best: list[tuple[int, float]] = []
    marks: dict[tuple[str, bool], list[tuple[float, float]]] = {}  # by status, and whether there is an error
    for index, trial in enumerate(cell.search, start=1):
        error = _error(trial)
        place = (index + shift, _WITHOUT_ERROR if error is None else 100 * error)
        marks.setdefault((str(trial.status), error is not None), []).append(place)
        if error is not None and trial.status == "completed":
            best.append((index, min(100 * error, best[-1][1] if best else math.inf)))
    for (status, known), places in marks.items():
        where = {} if known else {"transform": axes.get_xaxis_transform(), "clip_on": False}
        axes.plot(*zip(*places, strict=True), ls="none", color=look.colour, **_marker(status), **where)
    if best:
        best.append((len(cell.search), best[-1][1]))
        steps = {"ls": look.dashes, "lw": 1.4, "drawstyle": "steps-post"}
        axes.plot(*zip(*best, strict=True), color=look.colour, **steps)


def _importance(cast: Cast, shares: Sequence[dict[str, float]]) -> Figure:
    names = list(dict.fromkeys(name for own in shares for name in own))
    names.sort(key=lambda name: -max(own.get(name, 0.0) for own in shares))
    labels = [cell.label for cell, _ in cast.cells]
    below, row = 0.5 + LINE * legend_lines(labels), 0.16 + 0.11 * len(shares)
    figure = blank(0.1 + row * len(names) + below, left=1.6, top=0.1, bottom=below)
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
    axes.set_yticks(range(len(names)), [named(name, 24) for name in names], color=BLACK)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xlabel="importance (share of the explained spread)")
    axes.tick_params(axis="y", length=0)
    legend(figure, [handle(look, line=False) for _, look in cast.cells], labels)
    return figure
