"""Paired differences of every cell, and of every variant across datasets, as forest plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.figures.drawing import Drawing
from analysis.figures.intervals import MOST_ROWS, Row, draw_rows
from analysis.figures.style import split_evenly, use_style
from analysis.formatting import format_level, format_size
from analysis.records.model import Records
from analysis.verdicts.model import Verdict
from analysis.verdicts.results import StudyResults

_BEYOND = "A triangle at the edge: the mean lies beyond the axis; it is printed at the right."


def across_datasets(findings: StudyResults) -> Iterator[Drawing]:
    """One row per variant: each dataset a dot, their mean with its interval."""
    rows = [
        Row(
            f"{one.label} on {one.backbone}" if one.backbone else one.label,
            one.differences,
            one.mean_difference,
            one.ci_low,
            one.ci_high,
            one.verdict,
        )
        for one in findings.variants
        if one.mean_difference is not None and len(one.datasets) > 1
    ]
    records = findings.records
    parts = split_evenly(rows, MOST_ROWS)
    for number, part in enumerate(parts, start=1):
        caption = (
            f"Each small dot is one dataset's mean difference, the diamond is their mean and the line its "
            f"{format_level(records.alpha)} interval, of datasets as a sample. Right of zero the variant has "
            f"the lower error; in the grey band a difference is too small to matter. {_BEYOND}"
        )
        with use_style():
            figure = draw_rows(part, records.rope, _format_label(records))
        yield Drawing(
            f"across-datasets-{number}",
            _format_title("Differences across datasets", "", number, parts),
            caption,
            figure,
        )


def draw_cells(findings: StudyResults) -> Iterator[Drawing]:
    """One row per cell under its group's name: each seed a dot, their mean with its interval, over the shaded ROPE."""
    records = findings.records
    pages = [page for page in _split_pages(findings.verdicts) if any(one.mean_difference is not None for one in page)]
    for number, page in enumerate(pages, start=1):
        lines: list[Row | str] = []
        for one in page:
            header = f"{one.dataset} / {one.backbone}"
            if header not in lines:
                lines.append(header)
            lines.append(_make_row(one))
        caption = (
            f"Each small dot is one seed: the baseline's error less the variant's on the same seed. The diamond is "
            f"their mean, the line its {format_level(records.alpha)} interval. Right of zero the variant is better; "
            f"in the grey band a difference is too small to matter; a line that crosses zero leaves open whether it "
            f"helps or hurts, and the verdict allows for the number of comparisons too. {_BEYOND}"
        )
        with use_style():
            figure = draw_rows(lines, records.rope, _format_label(records))
        headers = [line for line in lines if isinstance(line, str)]
        title = _format_title("Paired differences", headers[0] if len(headers) == 1 else "", number, pages)
        yield Drawing(f"paired-differences-{number}", title, caption, figure)


def _split_pages(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """Whole groups as long as they fit; a group that no page can hold is split."""
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for one in verdicts:
        groups.setdefault((one.dataset, one.backbone), []).append(one)
    pages: list[list[Verdict]] = []
    for members in groups.values():
        if pages and len(pages[-1]) + len(members) <= MOST_ROWS:
            pages[-1] += members
        else:
            pages += [list(part) for part in split_evenly(members, MOST_ROWS)]
    return pages


def _make_row(one: Verdict) -> Row:
    dots = tuple(d for _, d in one.differences)
    return Row(one.label, dots, one.mean_difference, one.ci_low, one.ci_high, one.verdict)


def _format_label(records: Records) -> str:
    metric = {"test_top1_error": "top-1", "test_top5_error": "top-5"}[records.metric]
    return (
        f"worse  ←  test {metric} error, baseline − variant (percentage points)  →  better\n"
        f"shaded: within ±{format_size(records.rope)} pp, too small to matter"
    )


def _format_title(kind: str, place: str, number: int, parts: Sequence[object]) -> str:
    if len(parts) == 1:
        return f"{kind}: {place}" if place else kind
    return f"{kind}: {place} ({number} of {len(parts)})" if place else f"{kind}: part {number} of {len(parts)}"
