"""Paired differences of every cell, and of every variant across datasets, as forest plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

import analysis.figures.style as style
from analysis.figures.drawing import Drawing
from analysis.formatting import format_level, format_points, format_size
from analysis.records.model import Records
from analysis.verdicts.model import VariantVerdict, Verdict
from analysis.verdicts.results import StudyResults

_ROW, _HEADER = 0.36, 0.27  # inches
_MOST_ROWS = 16
_BEYOND = "A triangle at the edge: the mean lies beyond the axis; it is printed at the right."


@dataclass(frozen=True)
class _Row:
    """A verdict with its dots, which are fractions, positive when the variant is better."""

    place: str  # rows of one place stand under its name; empty: under none
    label: str
    dots: tuple[float, ...]
    verdict: Verdict | VariantVerdict


def reach_of(verdict: Verdict | VariantVerdict, dots: Sequence[float] = ()) -> float:
    """How far from 0 the mean, its interval and the dots reach, in percentage points."""
    ends = (verdict.mean_difference, verdict.ci_low, verdict.ci_high, *dots)
    return max((100 * abs(end) for end in ends if end is not None), default=0.0)


def across_datasets(findings: StudyResults) -> Iterator[Drawing]:
    """One row per variant: each dataset a dot, their mean with its interval."""
    records = findings.records
    rows = []
    for variant in findings.variants:
        if variant.mean_difference is not None and len(variant.datasets) > 1:
            label = f"{variant.label} on {variant.backbone}" if variant.backbone else variant.label
            rows.append(_Row("", label, variant.differences, variant))
    caption = (
        f"Each small dot is one dataset's mean difference, the diamond is their mean and the line its "
        f"{format_level(records.alpha)} interval, of datasets as a sample. Right of zero the variant has "
        f"the lower error; in the grey band a difference is too small to matter."
    )
    pages = style.split_evenly(rows, _MOST_ROWS)
    yield from _draw_pages("across-datasets", "Differences across datasets", caption, pages, records)


def draw_cells(findings: StudyResults) -> Iterator[Drawing]:
    """One row per cell under its group's name: each seed a dot, their mean with its interval, over the shaded ROPE."""
    records = findings.records
    groups: dict[str, list[_Row]] = {}
    for verdict in findings.verdicts:
        place = f"{verdict.dataset} / {verdict.backbone}"
        dots = tuple(difference for _, difference in verdict.differences)
        groups.setdefault(place, []).append(_Row(place, verdict.label, dots, verdict))
    caption = (
        f"Each small dot is one seed: the baseline's error less the variant's on the same seed. The diamond is "
        f"their mean, the line its {format_level(records.alpha)} interval. Right of zero the variant is better; "
        f"in the grey band a difference is too small to matter; a line that crosses zero leaves open whether it "
        f"helps or hurts, and the verdict allows for the number of comparisons too."
    )
    pages = _fill_pages(groups.values())
    yield from _draw_pages("paired-differences", "Paired differences", caption, pages, records)


def _fill_pages(groups: Iterable[list[_Row]]) -> list[Sequence[_Row]]:
    """Whole groups as long as they fit, a group that no page can hold split; pages without any mean are left out."""
    pages: list[Sequence[_Row]] = []
    for group in groups:
        if pages and len(pages[-1]) + len(group) <= _MOST_ROWS:
            pages[-1] = [*pages[-1], *group]
        else:
            pages += style.split_evenly(group, _MOST_ROWS)
    return [page for page in pages if any(row.verdict.mean_difference is not None for row in page)]


def _draw_pages(
    id: str, kind: str, caption: str, pages: Sequence[Sequence[_Row]], records: Records
) -> Iterator[Drawing]:
    for number, page in enumerate(pages, start=1):
        title = kind
        if page[0].place and page[0].place == page[-1].place:
            title += f": {page[0].place}"
        if len(pages) > 1:
            part = f"{number} of {len(pages)}"
            title += f": part {part}" if title == kind else f" ({part})"
        yield Drawing(f"{id}-{number}", title, f"{caption} {_BEYOND}", _draw_rows(page, records))


@style.use_style()
def _draw_rows(rows: Sequence[_Row], records: Records) -> Figure:
    """Rows from top to bottom. Differences beyond the axis end in an arrow."""
    places = {row.place for row in rows if row.place}
    height = _ROW * len(rows) + _HEADER * len(places)
    figure = style.make_figure(height + 0.04, left=0.2, top=0.08, bottom=0.66)
    axes = figure.add_subplot()
    half = style.axis_reach([reach_of(row.verdict, row.dots) for row in rows], least=150 * records.rope)
    axes.set(xlim=(-half, half), ylim=(height, 0), yticks=[])
    axes.set_xlabel(
        f"worse  ←  test {records.study.metric.replace('top', 'top-')} error, baseline − variant (percentage points)"
        f"  →  better\nshaded: within ±{format_size(records.rope)} pp, too small to matter"
    )
    axes.spines["left"].set_visible(False)
    top, place = 0.0, ""
    for row in rows:
        if row.place != place:
            place = row.place
            _write_text(axes, 0.0, top + 0.17, style.shorten_name(place, 76), weight="bold", size=9.5)
            top += _HEADER
        _draw_row(axes, top, row, half, 100 * records.rope)
        top += _ROW
    return figure


def _write_text(axes: Any, x: float, y: float, text: str, **font: Any) -> None:
    axes.text(x, y, text, transform=axes.get_yaxis_transform(), va="center", zorder=5, **font)


def _draw_row(axes: Any, top: float, row: _Row, half: float, rope: float) -> None:
    verdict = row.verdict
    colour = style.RULING_COLOURS.get(verdict.verdict, style.GREY)
    text: str = verdict.verdict
    if verdict.mean_difference is not None:
        text = f"{format_points(verdict.mean_difference)}  {text}"
    weight = "bold" if verdict.verdict in style.RULING_COLOURS else "normal"
    length = int((style.WIDTH - 0.55) * 12.6) - int(1.25 * len(text))
    _write_text(axes, 0.01, top + 0.09, style.shorten_name(row.label, length))
    _write_text(axes, 1.0, top + 0.09, text, ha="right", weight=weight)
    axes.plot([-half, half], [top + _ROW] * 2, color=style.LIGHT, lw=0.6, zorder=0.5)
    if verdict.mean_difference is None:
        return
    y, lane = top + 0.265, [top + 0.18, top + _ROW - 0.01]
    axes.fill_betweenx(lane, -rope, rope, color=style.LIGHT, lw=0, zorder=0)
    axes.plot([0, 0], lane, color=style.GREY, lw=0.8, zorder=1)
    inside = [100 * dot for dot in row.dots if abs(100 * dot) <= half]
    axes.plot(inside, [y] * len(inside), "o", ms=4.2, color=colour, mec="white", mew=0.6, zorder=3.5)
    if verdict.ci_low is not None and verdict.ci_high is not None:
        ends = [100 * verdict.ci_low, 100 * verdict.ci_high]
        axes.plot(ends, [y, y], color=colour, lw=1.6, zorder=3, solid_capstyle="butt")
    mean = 100 * verdict.mean_difference
    if mean > half:
        axes.plot([half], [y], marker=">", ms=7, color=colour, mec=style.BLACK, mew=0.5, clip_on=False)
    elif mean < -half:
        axes.plot([-half], [y], marker="<", ms=7, color=colour, mec=style.BLACK, mew=0.5, clip_on=False)
    else:
        axes.plot([mean], [y], marker="D", ms=5, color=colour, mec=style.BLACK, mew=0.5, zorder=4)
