"""Printed confusion matrices above ours: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

import analysis.figures.style as style
from analysis.figures.drawing import Drawing
from analysis.formatting import format_percent, format_plural
from analysis.published.confusions import Confusion, Matrix, find_confusions, normalise_rows
from analysis.verdicts.results import StudyResults

_ROW = 0.21  # inches of a class
_NAMES = 0.85  # inches for the names of classes, at the left and, slanted, below
_DARK = 0.55  # share from which the number is white
_COLOURS = "Blues"


def draw_confusions(findings: StudyResults) -> Iterator[Drawing]:
    """A figure per printed matrix that the study names and has answers for."""
    for found in find_confusions(findings):
        if found.ours is None or found.difference is None:
            continue
        table = found.table
        networks = format_plural(found.networks, "confirm network")
        caption = (
            f"Of the test images of each true class (rows), the per cent that is taken for each class (columns); the "
            f"diagonal is right, the class's recall. Above the printed matrix ({table.paper.name}, {table.place}); "
            f"below ours: the sum over {networks} divided by their number. Their recalls are "
            f"{format_percent(found.difference)} percentage points apart, mean over classes."
        )
        title = f"Confusion matrices: {table.place}, {table.rows[0].row}"
        yield Drawing(f"confusion-{table.id}", title, caption, _draw_pair(found, found.ours))


@style.use_style()
def _draw_pair(found: Confusion, ours: Matrix) -> Figure:
    classes = found.table.classes
    side = _ROW * len(classes)
    figure = style.make_figure(2 * side + 0.3, left=_NAMES, top=0.25, bottom=_NAMES)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"hspace": 0.3 / side})
    _draw_matrix(upper, normalise_rows(found.printed), classes, "printed")
    _draw_matrix(lower, normalise_rows(ours), classes, "ours")
    lower.set_xticks([index + 0.5 for index in range(len(classes))], classes, rotation=40, ha="right")
    return figure


def _draw_matrix(axes: Any, shares: Matrix, classes: tuple[str, ...], title: str) -> None:
    size = len(classes)
    axes.pcolormesh(shares, cmap=_COLOURS, vmin=0.0, vmax=1.0, edgecolors="white", linewidth=0.5)
    axes.set(title=title, xlim=(0, size), ylim=(size, 0))
    axes.set_yticks([index + 0.5 for index in range(size)], classes)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for true, row in enumerate(shares):
        for answer, share in enumerate(row):
            colour = "white" if share > _DARK else style.BLACK
            axes.text(answer + 0.5, true + 0.5, f"{100 * share:.0f}", ha="center", va="center", color=colour)
