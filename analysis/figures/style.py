"""The one style of every figure. Colours: Okabe and Ito 2008, told apart by colour-blind readers.

Nothing here touches matplotlib's global state but inside `styled()`, and pyplot is never imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from analysis.formatting import shorten_text

BLACK, GREY, LIGHT = "#222222", "#6b6b6b", "#ececec"
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
RULING_COLOURS = {"HELPS": GREEN, "HURTS": VERMILION, "EQUIVALENT": BLUE, "MIXED": PURPLE}  # the rest is grey

WIDTH = 5.8  # inches: a paper's text width, and 9 pt are still 8 px on a phone 360 px wide
LINE = 0.172  # inches of one line of text with its leading

STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: widths are the same everywhere
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.color": BLACK,
    "text.parse_math": False,  # names may hold a dollar sign
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "svg.fonttype": "none",  # text stays text: small, selectable, searchable
    "pdf.fonttype": 42,  # TrueType: journals refuse type 3
}


@contextmanager
def use_style(**changes: Any) -> Iterator[None]:
    """matplotlib's settings for drawing and for saving, put back afterwards."""
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
    ends = [len(items) * part // parts for part in range(parts + 1)] if parts else []
    return [items[low:high] for low, high in pairwise(ends)]


def clean_line(text: object) -> str:
    """One line of a name: what XML cannot hold or a page cannot show becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))


def shorten_name(text: object, length: int) -> str:
    """A name in at most `length` characters."""
    return shorten_text(clean_line(text), length)


def make_figure(
    height: float, left: float = 0.55, right: float = 0.2, top: float = 0.3, bottom: float = 0.45
) -> Figure:
    """An empty figure `height` inches high with these margins, in inches."""
    figure = Figure(figsize=(WIDTH, height))
    figure.subplots_adjust(left=left / WIDTH, right=1 - right / WIDTH, top=1 - top / height, bottom=bottom / height)
    return figure


def legend_lines(labels: Sequence[str]) -> int:
    """How many lines `legend` will take: two columns, or one where a name is long."""
    return -(-len(labels) // _count_columns(labels))


def _count_columns(labels: Sequence[str]) -> int:
    return 2 if max(map(len, map(clean_line, labels)), default=0) <= 34 else 1


def draw_legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Names below the panels; each as long as its column allows."""
    columns = _count_columns(labels)
    shown = [shorten_name(label, 34 if columns == 2 else 70) for label in labels]
    figure.legend(
        handles,
        shown,
        loc="lower left",
        bbox_to_anchor=(0.0, 0.0),
        ncols=columns,
        borderaxespad=0.3,
        handlelength=2.6,
        labelspacing=0.35,
        columnspacing=1.0,
    )


def make_handle(look: SeriesStyle, line: bool = True) -> Line2D:
    """A legend's sample of a look."""
    style = look.dashes if line else "none"
    return Line2D([], [], color=look.colour, marker=look.marker, ls=style, ms=4.5, lw=1.6)


def whole_numbers(axis: Any, most: int = 5) -> None:
    """Ticks at whole numbers alone."""
    axis.set_major_locator(MaxNLocator(nbins=most, integer=True))


def make_logarithmic(axes: Any, which: str, text: Any) -> None:
    """A log axis `x` or `y`, its ticks written by `text(value)`: matplotlib's own are TeX."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    low, high = getattr(axes, f"get_{which}lim")()
    few = high / low < 200
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def spans_decades(values: Sequence[float]) -> bool:
    """Whether errors or losses are worth a log axis: all positive, over a factor of ten."""
    return min(values) > 0 and max(values) / min(values) >= 10


def set_upward_axis(axes: Any, values: Sequence[float], log: bool) -> None:
    """A y axis of errors or losses: never below 0; if `log`, logarithmic where the values can fill it."""
    if log and min(values) > 0 and max(values) / min(values) >= 3:
        make_logarithmic(axes, "y", "{:g}".format)
    elif min(values) >= 0:
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))


def axis_reach(extents: Sequence[float], least: float) -> float:
    """Half-width of an axis about 0 that shows `extents`, one per row; far outliers are left to be clipped.

    One network that learned nothing is 80 points off, and would make every other difference a dot at zero.
    """
    ordered = sorted(abs(one) for one in extents)
    if not ordered:
        return least
    typical = max(ordered[(len(ordered) - 1) // 2], least)
    shown = [one for one in ordered if one <= 6 * typical]
    return max(least, 1.08 * shown[-1]) if shown else 1.08 * ordered[-1]
