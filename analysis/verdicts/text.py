"""The verdicts of a study for a terminal and as JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections import defaultdict
from itertools import chain
from typing import Any

from analysis.formatting import NONE, format_plural, format_points, format_size
from analysis.verdicts import cell_reasons
from analysis.verdicts.model import VariantVerdict, Verdict
from analysis.verdicts.results import StudyResults

_WIDTH = 118  # columns of a terminal
_Rows = dict[str, list[tuple[str, Verdict | VariantVerdict]]]  # by place: how many seeds or datasets, and the verdict


def to_json(findings: StudyResults) -> list[dict[str, Any]]:
    """One object per cell; errors and differences as fractions, positive when the variant is better."""
    return list(map(dataclasses.asdict, findings.verdicts))


def to_text(findings: StudyResults) -> str:
    """The verdicts on cells, then those on variants across datasets, for a terminal; each with its reason below."""
    terms = findings.terms
    lines = _wrap_text(
        f"{cell_reasons.alpha_in_words(terms)}, corrected for {format_plural(terms.family, 'cell')} (Holm); too small "
        f"to matter: within ±{format_size(terms.rope)} pp; a positive difference means that the variant is better"
    )
    for note in findings.notes:
        lines += _wrap_text(f"note: {note}")
    cells: _Rows = defaultdict(list)
    for verdict in findings.verdicts:
        cells[f"{verdict.dataset} / {verdict.backbone}"].append((format_plural(verdict.seeds, "seed"), verdict))
    if cells:
        lines += ["", "Cells", *_format_rows(cells)]
    else:
        lines += ["", "Nothing to judge: no variant stands beside a baseline."]
    if not findings.variants or not findings.several_datasets:
        return "\n".join(lines)
    backbones = {group.backbone for group in findings.groups}
    every = backbones.pop() if len(backbones) == 1 else "all backbones"
    across: _Rows = defaultdict(list)
    for variant in findings.variants:
        across[variant.backbone or every].append((format_plural(len(variant.datasets), "dataset"), variant))
    return "\n".join([*lines, "", "Variants across datasets", *_format_rows(across)])


def _wrap_text(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _format_rows(rows: _Rows) -> list[str]:
    """Per row a line and its reason, under the place where the variant was grafted."""
    counts, verdicts = zip(*chain.from_iterable(rows.values()), strict=True)
    labels = max(len(verdict.label) for verdict in verdicts)
    widest = max(len(verdict.verdict) for verdict in verdicts)
    most = max(map(len, counts))
    lines = []
    for place, entries in rows.items():
        lines.append(f"  {place}")
        for count, verdict in entries:
            shown = NONE
            if verdict.mean_difference is not None:
                shown = f"{format_points(verdict.mean_difference)} pp"
            lines.append(f"    {verdict.label:<{labels}}  {verdict.verdict:<{widest}}  {count:>{most}}  {shown:>9}")
            lines += _wrap_text(verdict.reason, " " * 8)
            for warning in verdict.warnings:
                lines += _wrap_text(f"note: {warning}", " " * 8)
    return lines
