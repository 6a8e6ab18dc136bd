"""What variants log by epoch beside errors and losses: learned strides, reconstruction errors, gradients."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from analysis.figures.curves import cell_curves, draw_curves, drawn_values, finish_epoch_axis
from analysis.figures.drawing import Drawing
from analysis.figures.histories import Histories
from analysis.figures.style import (
    LINE,
    LOOKS,
    SeriesStyle,
    draw_legend,
    legend_lines,
    make_figure,
    make_handle,
    set_upward_axis,
    shorten_name,
    spans_decades,
    split_evenly,
    use_style,
)
from analysis.formatting import make_slug
from analysis.records.model import CellResults, Group
from analysis.verdicts.results import StudyResults
from suite.core.records import TEST_CURVE, Epoch

_KNOWN = frozenset(Epoch.__dataclass_fields__)
_MEMBER = re.compile(r"(?P<family>.+?)_(?P<number>\d+)(?:_(?P<axis>height|width))?")  # stride_1_height, mse_2
_MOST_CELLS = 6
_PANEL = 1.5  # inches


@dataclass(frozen=True)
class _Family:
    """Scalars that belong together, by number: `stride_1_height`, `stride_1_width`, `stride_2_height`."""

    name: str
    members: tuple[str, ...]

    @property
    def title(self) -> str:
        return "learned strides" if self.name == "stride" else self.name.replace("_", " ")


def draw_scalars(findings: StudyResults, histories: Histories) -> Iterator[Drawing]:
    """Per group and family of scalars: a panel per cell, up to six to a figure."""
    for group in findings.groups:
        told = [(cell, _list_scalars(cell, histories)) for cell in group.cells]
        for name in dict.fromkeys(_find_family(metric) for _, metrics in told for metric in metrics):
            cells = [cell for cell, metrics in told if any(_find_family(metric) == name for metric in metrics)]
            members = {metric for _, metrics in told for metric in metrics if _find_family(metric) == name}
            family = _Family(name, tuple(sorted(members, key=_metric_order)))
            yield from _draw_family(group, family, cells, histories)


def _list_scalars(cell: CellResults, histories: Histories) -> list[str]:
    keys = [trial.trial_key for trial in cell.confirm]
    told = [
        metric for metric in histories.list_metrics(keys) if metric not in _KNOWN and not metric.startswith(TEST_CURVE)
    ]
    return [metric for metric in told if cell_curves(cell, histories, metric)]


def _find_family(metric: str) -> str:
    found = _MEMBER.fullmatch(metric)
    return found["family"] if found else metric


def _metric_order(metric: str) -> tuple[int, str]:
    found = _MEMBER.fullmatch(metric)
    return (int(found["number"]), metric) if found else (0, metric)


def _draw_family(
    group: Group, family: _Family, cells: Sequence[CellResults], histories: Histories
) -> Iterator[Drawing]:
    parts = split_evenly(cells, _MOST_CELLS)
    for number, part in enumerate(parts, start=1):
        with use_style():
            figure = _draw_panels(family, part, histories)
        place = f"{group.dataset} / {group.backbone}" + (f" ({number} of {len(parts)})" if len(parts) > 1 else "")
        caption = (
            "What the variant logged after each epoch, a panel per cell: mean over its confirm seeds, the band from "
            "lowest to highest seed. The numbers count the variant's places from the input on."
        )
        id = make_slug("logged", family.name, group.dataset, group.backbone, number if len(parts) > 1 else "")
        yield Drawing(id, f"{family.title[:1].upper()}{family.title[1:]} by epoch: {place}", caption, figure)


def _draw_panels(family: _Family, cells: Sequence[CellResults], histories: Histories) -> Figure:
    looks = {metric: _choose_style(metric, at) for at, metric in enumerate(family.members)}
    columns = min(2, len(cells))
    rows = -(-len(cells) // columns)
    names = [metric.replace("_", " ") for metric in family.members]
    below = 0.5 + LINE * legend_lines(names)
    figure = make_figure(0.28 + _PANEL * rows + 0.5 * (rows - 1) + below, left=0.72, top=0.28, bottom=below)
    figure.subplots_adjust(hspace=0.5 / _PANEL, wspace=0.24)
    for place, cell in enumerate(cells):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.set_title(shorten_name(cell.label, 32 if columns == 2 else 76), weight="normal")
        for metric, look in looks.items():
            draw_curves(axes, look, cell_curves(cell, histories, metric))
        values = drawn_values(axes)
        set_upward_axis(axes, values, spans_decades(values))
        if place % columns == 0:
            axes.set_ylabel(family.title[:28])
        finish_epoch_axis(axes, last_row=place >= len(cells) - columns)
    draw_legend(figure, [make_handle(look) for look in looks.values()], names)
    return figure


def _choose_style(metric: str, at: int) -> SeriesStyle:
    """By its number; the two axes of one place share colour and marker, the width is dotted."""
    found = _MEMBER.fullmatch(metric)
    base = LOOKS[((int(found["number"]) - 1) if found else at) % len(LOOKS)]
    return SeriesStyle(base.colour, base.marker, ":" if found and found["axis"] == "width" else "-")
