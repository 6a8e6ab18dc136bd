"""Rows of a forest plot: a name and a verdict, and below them the dots, the mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from analysis.figures.style import BLACK, GREY, LIGHT, RULING_COLOURS, WIDTH, axis_reach, make_figure, shorten_name
from analysis.formatting import format_points

ROW, HEADER = 0.36, 0.27  # inches
MOST_ROWS = 16


@dataclass(frozen=True)
class Row:
    """Differences in fractions, positive when the variant is better; `mean` None: not known."""

    label: str
    dots: tuple[float, ...]
    mean: float | None
    low: float | None
    high: float | None
    ruling: str

    @property
    def extent(self) -> float:
        known = [end for end in (self.mean, self.low, self.high) if end is not None]
        return max(map(abs, [*known, *self.dots]), default=0.0)


def draw_rows(lines: Sequence[Row | str], rope: float, label: str) -> Figure:
    """Rows from top to bottom; a string is a header. Differences beyond the axis end in an arrow."""
    heights = [HEADER if isinstance(line, str) else ROW for line in lines]
    figure = make_figure(sum(heights) + 0.78, left=0.2, right=0.2, top=0.08, bottom=0.66)
    axes = figure.add_subplot()
    half = axis_reach([100 * line.extent for line in lines if isinstance(line, Row)], least=150 * rope)
    axes.set(xlim=(-half, half), ylim=(sum(heights), 0), yticks=[])
    axes.spines["left"].set_visible(False)
    top = 0.0
    for line, height in zip(lines, heights, strict=True):
        if isinstance(line, str):
            _write_text(axes, 0.0, top + 0.17, shorten_name(line, 76), weight="bold", size=9.5)
        else:
            _draw_row(axes, top, line, half, 100 * rope)
        top += height
    axes.set_xlabel(label)
    return figure


def _write_text(axes: Any, x: float, y: float, text: str, **style: Any) -> None:
    axes.text(x, y, text, transform=axes.get_yaxis_transform(), va="center", zorder=5, **style)


def _draw_row(axes: Any, top: float, row: Row, half: float, rope: float) -> None:
    colour = RULING_COLOURS.get(row.ruling, GREY)
    known = f"{format_points(row.mean)}  " if row.mean is not None else ""
    verdict = f"{known}{row.ruling}"
    decided = row.ruling in RULING_COLOURS
    _write_text(axes, 0.01, top + 0.09, shorten_name(row.label, int((WIDTH - 0.55) * 12.6) - int(1.25 * len(verdict))))
    _write_text(axes, 1.0, top + 0.09, verdict, ha="right", weight="bold" if decided else "normal")
    axes.plot([-half, half], [top + ROW] * 2, color=LIGHT, lw=0.6, zorder=0.5)
    if row.mean is None:
        return
    y, lane = top + 0.265, [top + 0.18, top + ROW - 0.01]
    axes.fill_betweenx(lane, -rope, rope, color=LIGHT, lw=0, zorder=0)
    axes.plot([0, 0], lane, color=GREY, lw=0.8, zorder=1)
    inside = [100 * dot for dot in row.dots if abs(100 * dot) <= half]
    axes.plot(inside, [y] * len(inside), "o", ms=4.2, color=colour, mec="white", mew=0.6, zorder=3.5)
    if row.low is not None and row.high is not None:
        axes.plot([100 * row.low, 100 * row.high], [y, y], color=colour, lw=1.6, zorder=3, solid_capstyle="butt")
    mean = 100 * row.mean
    if abs(mean) <= half:
        axes.plot([mean], [y], marker="D", ms=5, color=colour, mec=BLACK, mew=0.5, zorder=4)
    else:
        edge = half if mean > 0 else -half
        axes.plot([edge], [y], marker=">" if mean > 0 else "<", ms=7, color=colour, mec=BLACK, mew=0.5, clip_on=False)
