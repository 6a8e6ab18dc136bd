"""What variants log by epoch beside errors and losses: learned strides, reconstruction errors, gradients."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from matplotlib.figure import Figure

from analysis.figures.curves import draw_panels, read_curves
from analysis.figures.drawing import Drawing
from analysis.figures.series import FigureCells
from analysis.figures.style import LOOKS, SeriesStyle, shorten_name, split_evenly
from analysis.records.histories import Histories
from analysis.records.model import CellResults
from analysis.verdicts.results import StudyResults
from suite.core.records import TEST_CURVE, Epoch

_KNOWN = frozenset(Epoch.__dataclass_fields__)
_MEMBER = re.compile(r"(?P<family>.+?)_(?P<number>\d+)(?:_(?P<axis>height|width))?")  # stride_1_height, mse_2
_MOST_CELLS = 6


class _Scalar(NamedTuple):
    """What a variant logs; those of one family, such as `stride_1_height` and `stride_2_height`, share a figure.

    They sort in the order of the legend. The two axes of one place share colour and marker, the width is dotted.
    """

    number: int
    metric: str
    family: str
    look: SeriesStyle


def draw_scalars(findings: StudyResults, histories: Histories) -> Iterator[Drawing]:
    """Per group and family of scalars: a panel per cell, up to six to a figure."""
    caption = (
        "What the variant logged after each epoch, a panel per cell: mean over its confirm seeds, the band from "
        "lowest to highest seed. The numbers count the variant's places from the input on."
    )
    for group in findings.groups:
        families: dict[str, set[_Scalar]] = {}
        cells: dict[str, list[CellResults]] = {}
        for cell in group.cells:
            for family, scalars in _list_scalars(cell, histories).items():
                families.setdefault(family, set()).update(scalars)
                cells.setdefault(family, []).append(cell)
        for family, members in families.items():
            title = "learned strides" if family == "stride" else family.replace("_", " ")
            parts = split_evenly(cells[family], _MOST_CELLS)
            for number, part in enumerate(parts, start=1):
                shown = FigureCells(group, part, number, len(parts))
                figure = _draw_family(part, sorted(members), histories)
                for axes in figure.axes[::2]:
                    axes.set_ylabel(title[:28])
                heading = f"{title[:1].upper()}{title[1:]} by epoch: {shown.title}"
                yield Drawing(shown.figure_id("logged", family), heading, caption, figure)


def _draw_family(cells: Sequence[CellResults], scalars: Sequence[_Scalar], histories: Histories) -> Figure:
    length = 76 if len(cells) == 1 else 32
    panels = []
    for cell in cells:
        curves = [read_curves(cell, histories, scalar.metric) for scalar in scalars]
        panels.append((shorten_name(cell.label, length), 1.0, curves))
    legend = {scalar.metric.replace("_", " "): scalar.look for scalar in scalars}
    figure, _ = draw_panels(panels, legend, height=1.5, left=0.72, alike=False)
    return figure


def _list_scalars(cell: CellResults, histories: Histories) -> dict[str, list[_Scalar]]:
    """By family, what the cell's trials logged beside errors and losses."""
    families: dict[str, list[_Scalar]] = {}
    for metric in histories.list_metrics(trial.trial_key for trial in cell.confirm):
        if metric in _KNOWN or metric.startswith(TEST_CURVE) or not read_curves(cell, histories, metric):
            continue
        scalar = _parse_metric(metric)
        families.setdefault(scalar.family, []).append(scalar)
    return families


def _parse_metric(metric: str) -> _Scalar:
    match = _MEMBER.fullmatch(metric)
    if match is None:
        return _Scalar(0, metric, metric, replace(LOOKS[0], dashes="-"))
    number = int(match["number"])
    dashes = ":" if match["axis"] == "width" else "-"
    return _Scalar(number, metric, match["family"], replace(LOOKS[(number - 1) % len(LOOKS)], dashes=dashes))
