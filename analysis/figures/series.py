"""Which cells of a group share a figure, and how each looks there: the baseline, and up to six variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analysis.figures.style import BASELINE_LOOK, LOOKS, SeriesStyle, split_evenly
from analysis.formatting import make_slug
from analysis.records.model import CellResults, Group


@dataclass(frozen=True)
class FigureCells:
    """`number` of `total`; a group of many variants takes several figures, with the baseline in each."""

    group: Group
    cells: tuple[tuple[CellResults, SeriesStyle], ...]
    number: int
    total: int

    @property
    def title(self) -> str:
        """`digits / cnn`, with `(2 of 3)` where there are several."""
        part = f" ({self.number} of {self.total})" if self.total > 1 else ""
        return f"{self.group.dataset} / {self.group.backbone}{part}"

    def figure_id(self, kind: str) -> str:
        return make_slug(kind, self.group.dataset, self.group.backbone, self.number if self.total > 1 else "")


def split_cells(group: Group, seen: Callable[[CellResults], bool]) -> list[FigureCells]:
    """The group's cells of which there is something to show; none when there is nothing at all.

    A cell looks the same in every figure of its group, whichever others are shown beside it.
    """
    own = [(cell, BASELINE_LOOK) for cell in group.cells if cell.is_baseline and seen(cell)]
    parts = split_evenly([cell for cell in group.cells if not cell.is_baseline and not cell.refused], len(LOOKS))
    shown = [[(cell, look) for cell, look in zip(part, LOOKS, strict=False) if seen(cell)] for part in parts]
    filled = [part for part in shown if part] or ([[]] if own else [])
    return [FigureCells(group, (*own, *part), number, len(filled)) for number, part in enumerate(filled, start=1)]
