"""Which cells of a group share a figure, and how each looks there: the baseline, and up to six variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.figures.style import BASELINE_LOOK, LOOKS, SeriesStyle, split_evenly
from analysis.formatting import make_slug
from analysis.records.model import CellResults, Group


@dataclass(frozen=True)
class FigureCells:
    """`number` of `total`; a group of many variants takes several figures, with the baseline in each."""

    group: Group
    cells: Sequence[CellResults]
    number: int
    total: int
    looks: Sequence[SeriesStyle] = ()  # one per cell, where lines are cells

    @property
    def labels(self) -> list[str]:
        return [cell.label for cell in self.cells]

    @property
    def title(self) -> str:
        """`digits / cnn`, with `(2 of 3)` where there are several."""
        title = f"{self.group.dataset} / {self.group.backbone}"
        if self.total > 1:
            title += f" ({self.number} of {self.total})"
        return title

    def figure_id(self, *kind: str) -> str:
        return make_slug(*kind, self.group.dataset, self.group.backbone, self.number if self.total > 1 else "")


def split_cells(group: Group, seen: Callable[[CellResults], bool]) -> list[FigureCells]:
    """The group's cells of which there is something to show; none when there is nothing at all.

    A cell looks the same in every figure of its group, whichever others are shown beside it.
    """
    baselines = [cell for cell in group.cells if cell.is_baseline and seen(cell)]
    variants = [cell for cell in group.cells if not cell.is_baseline and not cell.refused]
    parts = []
    for part in split_evenly(variants, len(LOOKS)):
        cells, looks = list(baselines), [BASELINE_LOOK] * len(baselines)
        for cell, look in zip(part, LOOKS, strict=False):
            if seen(cell):
                cells.append(cell)
                looks.append(look)
        if len(cells) > len(baselines):
            parts.append((cells, looks))
    if baselines and not parts:
        parts = [(baselines, [BASELINE_LOOK] * len(baselines))]
    return [FigureCells(group, cells, at, len(parts), looks) for at, (cells, looks) in enumerate(parts, start=1)]
