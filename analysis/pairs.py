"""Paired differences per cell, or the sentence that says why there are none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.audit import unequal
from analysis.select import CellResults, Group, Records


@dataclass(frozen=True, eq=False)
class Pairs:
    """A cell's d_s = error(baseline) - error(variant), fractions in the order of `seeds`; or a `problem`."""

    cell: CellResults
    seeds: tuple[int, ...] = ()
    differences: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))
    problem: str = ""


def pairs(records: Records, arranged: Sequence[Group]) -> list[Pairs]:
    """Every non-baseline cell of the study, in the order of the plan."""
    return [
        pair(cell, group.baseline, records.metric) for group in arranged for cell in group.cells if not cell.is_baseline
    ]


def pair(cell: CellResults, baseline: CellResults | None, metric: str, name: str = "baseline") -> Pairs:
    """Pairs by seed; refused unless both sides have every seed and had the same budget.

    Args:
        baseline: what the cell is compared with, another cell of its group; None: the records have none.
        name: what that is, for people.
    """
    if cell.refused:
        return Pairs(cell, problem=f"refused: {cell.refused}")
    if baseline is None:
        return Pairs(cell, problem=f"this group has no {name}")
    gap = baseline.gap(metric)
    gaps = [text for text in (cell.gap(metric), f"{name}: {gap}" if gap else "") if text]
    if gaps:
        gaps.append("an average over unequal sets is refused")
    problems = gaps + unequal(cell, baseline, name)
    if problems:
        return Pairs(cell, problem="; ".join(problems))
    own, other = cell.errors(metric), baseline.errors(metric)
    if not own:
        return Pairs(cell, problem="no confirm trial was planned")
    seeds = tuple(own)
    # rounded: 0.1 - 0.09 and 0.2 - 0.19 are the same difference
    return Pairs(cell, seeds, np.round([other[seed] - own[seed] for seed in seeds], 12))
