"""Figures of a study: drawn one at a time from its findings, written as PNG, SVG and PDF."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import chain

from analysis.figures.confusions import draw_confusions
from analysis.figures.curves import learning_curves
from analysis.figures.drawing import FORMATS, Drawing, render_svg, save_drawing
from analysis.figures.forest import across_datasets, draw_cells
from analysis.figures.pareto import draw_pareto
from analysis.figures.ranks import rank_diagrams
from analysis.figures.response import draw_responses
from analysis.figures.scalars import draw_scalars
from analysis.figures.searches import parameter_importance, search_history
from analysis.records.histories import Histories
from analysis.verdicts.results import StudyResults

__all__ = ["FORMATS", "Drawing", "draw_all", "render_svg", "save_drawing"]


def draw_all(findings: StudyResults) -> Iterator[Drawing]:
    """Every figure that the records can fill, in the report's order, each with an id of its own; one at a time."""
    histories = Histories(findings.records.epochs)
    ids: set[str] = set()
    for drawing in chain(
        across_datasets(findings),
        rank_diagrams(findings),
        draw_cells(findings),
        draw_pareto(findings),
        draw_responses(findings),
        learning_curves(findings, histories),
        draw_scalars(findings, histories),
        draw_confusions(findings),
        search_history(findings),
        parameter_importance(findings),
    ):
        unique, number = drawing.id, 1
        while unique in ids:  # two names may differ only in what a file name can't hold
            number += 1
            unique = f"{drawing.id}-{number}"
        ids.add(unique)
        yield dataclasses.replace(drawing, id=unique)
