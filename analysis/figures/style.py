"""The one style of every figure. Colours: Okabe and Ito 2008, told apart by colour-blind readers.

Nothing here touches matplotlib's global state but inside `use_style()`, and pyplot is never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median_low
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from analysis.formatting import shorten_text

BLACK, GREY, LIGHT = "#222222", "#6b6b6b", "#ececec"
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
RULING_COLOURS = {"HELPS": GREEN, "HURTS": VERMILION, "EQUIVALENT": BLUE, "MIXED": PURPLE}  # the rest is grey

WIDTH = 5.8  # inches: a paper's text width, and 9 pt are still 8 px on a phone 360 px wide
WIDE = 10.0  # errors or losses that span such a factor are worth a log axis
LINE = 0.172  # inches of one line of text with its leading
_LETTERS = {1: 70, 2: 34}  # of a legend's name, by the number of columns

STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: widths are the same everywhere
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.color": BLACK,
    "text.parse_math": False,  # names may hold a dollar sign
    "legend.frameon": False,
    "legend.loc": "lower left",
    "legend.borderaxespad": 0.3,
    "legend.columnspacing": 1.0,
    "svg.fonttype": "none",  # text stays text: small, selectable, searchable
    "pdf.fonttype": 42,  # TrueType: journals refuse type 3
}


@contextmanager
def use_style(**changes: Any) -> Iterator[None]:
    """matplotlib's settings for drawing and for saving, put back afterwards; decorates functions too."""
    with mpl.rc_context({**STYLE, **changes}):
        yield


@dataclass(frozen=True)
class SeriesStyle:
    """How one cell is drawn: told apart by colour, and in grey print by marker and dashes."""

    colour: str
    marker: str
    dashes: Any  # a matplotlib line style


BASELINE_LOOK = SeriesStyle(BLACK, "o", "-")
LOOKS = (
    SeriesStyle(BLUE, "s", "--"),
    SeriesStyle(VERMILION, "^", "-."),
    SeriesStyle(GREEN, "D", (0, (1, 1))),
    SeriesStyle(PURPLE, "v", (0, (5, 1))),
    SeriesStyle(ORANGE, "P", (0, (3, 1, 1, 1, 1, 1))),
    SeriesStyle(SKY, "X", (0, (8, 2))),
)

Item = TypeVar("Item")


def split_evenly(items: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """The items in order, in as few and as equal parts as `most` allows."""
    parts = -(-len(items) // most)
    return [items[len(items) * part // parts : len(items) * (part + 1) // parts] for part in range(parts)]


def clean_line(text: object) -> str:
    """One line of a name: what XML cannot hold or a page cannot show becomes a question mark."""
    line = " ".join(str(text).split())
    for letter in set(line):
        if not letter.isprintable():
            line = line.replace(letter, "?")
    return line


def shorten_name(text: object, length: int) -> str:
    """A name in at most `length` characters."""
    return shorten_text(clean_line(text), length)


def make_figure(
    height: float, left: float, top: float, bottom: float = 0.5, right: float = 0.2, legend: Sequence[str] = ()
) -> Figure:
    """An empty figure with `height` inches between these margins (inches), the lower one wider by lines of a legend."""
    bottom += LINE * legend_lines(legend)
    height = top + height + bottom
    figure = Figure(figsize=(WIDTH, height))
    figure.subplots_adjust(left=left / WIDTH, right=1 - right / WIDTH, top=1 - top / height, bottom=bottom / height)
    return figure


def legend_lines(labels: Sequence[str]) -> int:
    """How many lines `draw_legend` will take."""
    return -(-len(labels) // _count_columns(labels))


def _count_columns(labels: Sequence[str]) -> int:
    """Two, or one where a name is long."""
    return 1 if max(map(len, map(clean_line, labels)), default=0) > _LETTERS[2] else 2


def draw_legend(figure: Figure, handles: Sequence[Line2D], labels: Sequence[str]) -> None:
    """Names below the panels; each as long as its column allows."""
    columns = _count_columns(labels)
    names = [shorten_name(label, _LETTERS[columns]) for label in labels]
    figure.legend(handles, names, bbox_to_anchor=(0.0, 0.0), ncols=columns, handlelength=2.6, labelspacing=0.35)


def make_handles(looks: Iterable[SeriesStyle], **changes: Any) -> list[Line2D]:
    """A legend's sample of each look, with changes such as `ls="none"`."""
    handles = []
    for look in looks:
        handles.append(Line2D([], [], color=look.colour, marker=look.marker, ls=look.dashes, ms=4.5, lw=1.6))
        handles[-1].set(**changes)
    return handles


def make_logarithmic(axis: Any, text: Callable[[float], str]) -> None:
    """A log axis, its ticks written by `text(value)`: matplotlib's own are TeX."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter(lambda value, _: text(value))
    axis.set_minor_locator(NullLocator())


def spans_factor(values: Sequence[float], factor: float) -> bool:
    return min(values) > 0 and max(values) / min(values) >= factor


def set_upward_axis(axes: Any, values: Sequence[float], span: float = WIDE) -> None:
    """A y axis of errors or losses: logarithmic where they span a factor of `span`, else never below 0."""
    if spans_factor(values, span):
        make_logarithmic(axes.yaxis, "{:g}".format)
    elif min(values) >= 0:
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))


def axis_reach(extents: Sequence[float], least: float) -> float:
    """Half-width of an axis about 0 that shows `extents`, one per row; far outliers are left to be clipped.

    One network that learned nothing is 80 points off, and would make every other difference a dot at zero.
    """
    typical = max(median_low(extents or [0.0]), least)
    shown = [extent for extent in extents if extent <= 6 * typical]
    return max(least, 1.08 * max(shown, default=0.0))
