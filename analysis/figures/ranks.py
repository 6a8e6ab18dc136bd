"""Critical-difference diagram (Demsar 2006, section 3.2.4), by hand: names may be long and never overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure

from analysis.figures.drawing import Drawing
from analysis.figures.style import BLACK, GREY, VERMILION, clean_line, make_figure, shorten_name, use_style
from analysis.formatting import format_p, format_plural
from analysis.verdicts.rankings import Ranking
from analysis.verdicts.results import StudyResults

_LONGEST = 18  # letters of a name; 27 with its rank and star are 2.1 inches
_STEP = 0.2


def rank_diagrams(findings: StudyResults) -> Iterator[Drawing]:
    """One per ranking: average ranks over the datasets, bars over what Nemenyi's test cannot tell apart."""
    for number, ranking in enumerate(findings.rankings, start=1):
        over = format_plural(len(ranking.datasets), "dataset")
        title = "Average ranks"
        if ranking.backbone:
            title += f": {ranking.backbone}"
        caption = (
            f"Average rank of each variant over {over}, 1 the best (Friedman {format_p(ranking.p_value)}). Variants "
            f"under one thick bar are not told apart: their ranks differ by less than the critical difference CD "
            f"(Nemenyi, alpha {ranking.alpha:g}). A star: differs from the baseline after Holm's correction."
        )
        yield Drawing(f"average-ranks-{number}", title, caption, _draw_diagram(ranking))


def find_cliques(ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """First and last index of every largest run of at least two ascending ranks within `difference`."""
    runs: list[tuple[int, int]] = []
    last = 0
    for first, lowest in enumerate(ranks):
        end = max(at for at in range(first, len(ranks)) if ranks[at] - lowest <= difference)
        if end > max(first, last):
            runs.append((first, end))
            last = end
    return runs


@use_style()
def _draw_diagram(ranking: Ranking) -> Figure:
    ranks, size = ranking.average_ranks, len(ranking.labels)
    bars = _assign_levels(find_cliques(ranks, ranking.critical_difference))
    left = -(-size // 2)
    drop = 0.16 + 0.12 * (max((level for _, _, level in bars), default=-1) + 1)  # inches from axis to first name
    side = (5.7 * min(_LONGEST, max(map(len, map(clean_line, ranking.labels)))) + 48) / 72
    figure = make_figure(0.03 + drop + _STEP * left, left=side, right=side, top=0.72, bottom=0.1)
    axes = figure.add_subplot()
    axes.set(xlim=(1, max(size, 1 + ranking.critical_difference)), ylim=(drop + _STEP * left, 0), yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.spines["top"].set_visible(True)
    axes.xaxis.tick_top()
    axes.set_xticks([1, *range(5, size + 1, 5)] if size > 10 else range(1, size + 1))
    _draw_critical_bar(axes, ranking.critical_difference)
    for first, last, level in bars:
        y = 0.1 + 0.12 * level
        axes.plot([ranks[first], ranks[last]], [y, y], color=BLACK, lw=3.2, solid_capstyle="round", clip_on=False)
    for index in range(size):
        _write_name(axes, ranking, index, drop + 0.05 + _STEP * min(index, size - 1 - index), index < left)
    return figure


def _write_name(axes: Any, ranking: Ranking, index: int, y: float, on_left: bool) -> None:
    """A name at the end of the line from its rank: the better half stands at the left of the axis."""
    rank, p = ranking.average_ranks[index], ranking.p_values[index]
    name, weight = shorten_name(ranking.labels[index], _LONGEST), "normal"
    if p is None:  # the baseline
        weight = "bold"
    elif p < ranking.alpha:
        name += "*"
    low, high = axes.get_xlim()
    text, edge, shift, side = f"{rank:.2f}  {name}", high, 3, "left"
    if on_left:
        text, edge, shift, side = f"{name}  {rank:.2f}", low, -3, "right"
    axes.plot([rank, rank, edge], [0, y, y], color=GREY, lw=0.8, clip_on=False, zorder=1)
    style = {"ha": side, "va": "center", "weight": weight, "annotation_clip": False}
    axes.annotate(text, (edge, y), xytext=(shift, 0), textcoords="offset points", **style)


def _draw_critical_bar(axes: Any, difference: float) -> None:
    """The bar of the critical difference, above the axis, from rank 1."""
    height = axes.get_position().height * axes.figure.get_figheight()
    y, text, above = 1 + 0.38 / height, f"CD = {difference:.2f}", axes.get_xaxis_transform()
    axes.plot([1, 1 + difference], [y, y], color=VERMILION, lw=1.6, transform=above, clip_on=False, marker="|", ms=7)
    axes.text(1 + difference / 2, y + 0.07 / height, text, transform=above, ha="center", va="bottom", color=BLACK)


def _assign_levels(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Each run with the first level at which it touches no other."""
    ends: list[int] = []
    levels = []
    for first, last in runs:
        level = next((at for at, end in enumerate(ends) if end < first), len(ends))
        ends[level : level + 1] = [last]
        levels.append((first, last, level))
    return levels
