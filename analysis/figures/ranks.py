"""Critical-difference diagram (Demsar 2006, section 3.2.4), by hand: names may be long and never overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure

from analysis.figures.drawing import Drawing
from analysis.figures.style import BLACK, GREY, VERMILION, clean_line, make_figure, shorten_name, use_style
from analysis.formatting import format_plural, p_is
from analysis.verdicts.rankings import Ranking
from analysis.verdicts.results import StudyResults

_LONGEST = 18  # letters of a name; 27 with its rank and star are 2.1 inches
_STEP = 0.2


def rank_diagrams(findings: StudyResults) -> Iterator[Drawing]:
    """One per ranking: average ranks over the datasets, bars over what Nemenyi's test cannot tell apart."""
    for number, ranking in enumerate(findings.rankings, start=1):
        over = format_plural(len(ranking.datasets), "dataset")
        where = f": {ranking.backbone}" if ranking.backbone else ""
        caption = (
            f"Average rank of each variant over {over}, 1 the best (Friedman {p_is(ranking.p_value)}). Variants under "
            f"one thick bar are not told apart: their ranks differ by less than the critical difference CD (Nemenyi, "
            f"alpha {ranking.alpha:g}). A star: differs from the baseline after Holm's correction."
        )
        with use_style():
            figure = _draw_diagram(ranking)
        yield Drawing(f"average-ranks-{number}", f"Average ranks{where}", caption, figure)


def find_cliques(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """First and last index of every largest run of at least two ascending ranks within `difference`."""
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(at for at in range(first, len(ranks)) if ranks[at] - ranks[first] <= difference)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def _draw_diagram(ranking: Ranking) -> Figure:
    ranks, size = ranking.average_ranks, len(ranking.labels)
    bars = _assign_levels(find_cliques(ranks, ranking.critical_difference))
    depth = 0.12 * (max((level for _, _, level in bars), default=-1) + 1)
    left = -(-size // 2)
    drop = 0.16 + depth  # inches from the axis to the first name
    side = (5.7 * min(_LONGEST, max(len(clean_line(label)) for label in ranking.labels)) + 48) / 72
    figure = make_figure(0.85 + drop + _STEP * left, left=side, right=side, top=0.72, bottom=0.1)
    axes = figure.add_subplot()
    axes.set(xlim=(1, max(size, 1 + ranking.critical_difference)), ylim=(drop + _STEP * left, 0), yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.spines["top"].set_visible(True)
    axes.xaxis.tick_top()
    axes.set_xticks([rank for rank in range(1, size + 1) if size <= 10 or rank == 1 or rank % 5 == 0])
    _draw_critical_bar(axes, ranking.critical_difference)
    for first, last, level in bars:
        y = 0.1 + 0.12 * level
        axes.plot([ranks[first], ranks[last]], [y, y], color=BLACK, lw=3.2, solid_capstyle="round", clip_on=False)
    low, high = axes.get_xlim()
    for index, rank in enumerate(ranks):
        on_left = index < left
        y = drop + _STEP * (index if on_left else size - 1 - index) + 0.05
        edge = low if on_left else high
        axes.plot([rank, rank, edge], [0, y, y], color=GREY, lw=0.8, clip_on=False, zorder=1)
        _write_name(axes, ranking, index, edge, y, on_left)
    return figure


def _write_name(axes: Any, ranking: Ranking, index: int, edge: float, y: float, on_left: bool) -> None:
    p = ranking.p_values[index]
    star = "*" if p is not None and p < ranking.alpha else ""
    rank, name = f"{ranking.average_ranks[index]:.2f}", shorten_name(ranking.labels[index], _LONGEST) + star
    axes.annotate(
        f"{name}  {rank}" if on_left else f"{rank}  {name}",
        (edge, y),
        xytext=(-3 if on_left else 3, 0),
        textcoords="offset points",
        ha="right" if on_left else "left",
        va="center",
        weight="bold" if p is None else "normal",  # the baseline has no p value
        annotation_clip=False,
    )


def _draw_critical_bar(axes: Any, difference: float) -> None:
    """The bar of the critical difference, above the axis, from rank 1."""
    height = axes.get_position().height * axes.figure.get_figheight()
    y = 1 + 0.38 / height
    place = axes.get_xaxis_transform()
    axes.plot([1, 1 + difference], [y, y], color=VERMILION, lw=1.6, transform=place, clip_on=False, marker="|", ms=7)
    text = f"CD = {difference:.2f}"
    axes.text(1 + difference / 2, y + 0.07 / height, text, transform=place, ha="center", va="bottom", color=BLACK)


def _assign_levels(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Each run with the first level at which it touches no other."""
    ends: list[int] = []
    placed = []
    for first, last in runs:
        level = next((at for at, end in enumerate(ends) if end < first), len(ends))
        ends[level : level + 1] = [last]
        placed.append((first, last, level))
    return placed
