"""The verdicts of a study for a terminal and as JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

from analysis.formatting import NONE, format_plural, format_points, format_size
from analysis.verdicts import cell_reasons
from analysis.verdicts.model import VariantVerdict, Verdict
from analysis.verdicts.results import StudyResults

_WIDTH = 118  # columns of a terminal


def to_json(findings: StudyResults) -> list[dict[str, Any]]:
    """One object per cell; errors and differences as fractions, positive when the variant is better."""
    return [dataclasses.asdict(one) for one in findings.verdicts]


def to_text(findings: StudyResults) -> str:
    """The verdicts on cells, then those on variants across datasets, for a terminal; each with its reason below."""
    records = findings.records
    terms = (
        f"{cell_reasons.alpha_in_words(records)}, corrected for {format_plural(findings.family, 'cell')} (Holm); "
        f"too small to matter: within ±{format_size(records.rope)} pp; a positive difference means that the "
        "variant is better"
    )
    lines = [
        textwrap.fill(text, _WIDTH, break_on_hyphens=False)
        for text in (terms, *(f"note: {note}" for note in findings.notes))
    ]
    rows = [
        (f"{one.dataset} / {one.backbone}", one.label, format_plural(one.seeds, "seed"), one)
        for one in findings.verdicts
    ]
    backbones = list(dict.fromkeys(group.backbone for group in findings.groups))
    every = backbones[0] if len(backbones) == 1 else "all backbones"
    across = [
        (one.backbone or every, one.label, format_plural(len(one.datasets), "dataset"), one)
        for one in findings.variants
    ]
    lines += (
        ["", "Cells", *_format_rows(rows)] if rows else ["", "Nothing to judge: no variant stands beside a baseline."]
    )
    if across and findings.several_datasets:
        lines += ["", "Variants across datasets", *_format_rows(across)]
    return "\n".join(lines)


def _format_rows(rows: Sequence[tuple[str, str, str, Verdict | VariantVerdict]]) -> list[str]:
    """Per row a line and its reason, under the place where the variant was grafted."""
    labels, counts = (max(map(len, column)) for column in zip(*((row[1], row[2]) for row in rows), strict=True))
    widest = max(len(row[3].verdict) for row in rows)
    lines: list[str] = []
    above = ""
    for place, label, count, one in sorted(rows, key=lambda row: [other[0] for other in rows].index(row[0])):
        lines += [f"  {place}"] if place != above else []
        above = place
        shown = f"{format_points(one.mean_difference)} pp" if one.mean_difference is not None else NONE
        lines.append(f"    {label:<{labels}}  {one.verdict:<{widest}}  {count:>{counts}}  {shown:>9}")
        indent = " " * 8
        for text in (one.reason, *(f"note: {warning}" for warning in one.warnings)):
            lines.append(
                textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
            )
    return lines
