"""Figures of a study: drawn one at a time from its findings, written as PNG, SVG and PDF."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import chain

from analysis.figures.curves import learning_curves
from analysis.figures.drawing import FORMATS, Drawing, save, svg
from analysis.figures.forest import across_datasets, cells
from analysis.figures.histories import Histories
from analysis.figures.pareto import pareto
from analysis.figures.ranks import rank_diagrams
from analysis.figures.response import responses
from analysis.figures.scalars import logged
from analysis.figures.searches import parameter_importance, search_history
from analysis.verdicts.results import Findings

__all__ = ["FORMATS", "Drawing", "draw_all", "save", "svg"]


def draw_all(findings: Findings) -> Iterator[Drawing]:
    """Every figure that the records can fill, in the report's order, each with an id of its own; one at a time."""
    histories = Histories(findings.records.epochs)
    kinds = chain(
        across_datasets(findings),
        rank_diagrams(findings),
        cells(findings),
        pareto(findings),
        responses(findings),
        learning_curves(findings, histories),
        logged(findings, histories),
        search_history(findings),
        parameter_importance(findings),
    )
    taken: set[str] = set()
    for drawing in kinds:
        unique, number = drawing.id, 1
        while unique in taken:  # two names may differ only in what a file name can't hold
            number += 1
            unique = f"{drawing.id}-{number}"
        taken.add(unique)
        yield drawing if unique == drawing.id else dataclasses.replace(drawing, id=unique)
