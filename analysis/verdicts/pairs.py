"""Paired differences per cell, or the sentence that says why there are none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.formatting import format_ranges
from analysis.records.model import CellResults, Group, Records
from analysis.verdicts.audit import count_shared_draws, find_unequal


@dataclass(frozen=True, eq=False)
class Pairs:
    """A cell's d_s = error(baseline) - error(variant), fractions in the order of `seeds`; or a `problem`.

    `errors` are the cell's own; `baseline` is what it was compared with, which people know as `name`.
    """

    cell: CellResults
    baseline: CellResults | None
    name: str = "baseline"
    seeds: tuple[int, ...] = ()
    errors: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))
    differences: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))
    problem: str = ""


def pair_cells(records: Records, arranged: Sequence[Group]) -> list[Pairs]:
    """Every non-baseline cell of the study, in the order of the plan."""
    first_draws = count_shared_draws(records.study)
    return [
        pair_seeds(cell, group.baseline, records.metric, first_draws=first_draws, lacking=group.without_baseline)
        for group in arranged
        for cell in group.cells
        if not cell.is_baseline
    ]


def pair_seeds(
    cell: CellResults,
    baseline: CellResults | None,
    metric: str,
    name: str = "baseline",
    first_draws: int = 0,
    lacking: str = "",
) -> Pairs:
    """Pairs by seed; refused unless both sides have every seed and had the same budget.

    Args:
        baseline: what the cell is compared with, another cell of its group; None: the records have none.
        name: what that is, for people.
        first_draws: how many search trials the two must have begun with the same draws.
        lacking: why there is no `baseline`; the default says that the group has none.
    """
    refusal = _find_refusal(cell, baseline, metric, name, first_draws, lacking)
    if baseline is None or refusal:
        return Pairs(cell, baseline, name, problem=refusal)
    own, other = cell.errors_by_seed(metric), baseline.errors_by_seed(metric)
    seeds = tuple(own)
    errors = np.array([own[seed] for seed in seeds])
    # rounded: 0.1 - 0.09 and 0.2 - 0.19 are the same difference
    return Pairs(cell, baseline, name, seeds, errors, np.round([other[seed] - own[seed] for seed in seeds], 12))


def _find_refusal(
    cell: CellResults, baseline: CellResults | None, metric: str, name: str, first_draws: int, lacking: str
) -> str:
    """Why the two can't be compared; empty when they can."""
    if cell.refused:
        return f"refused: {cell.refused}"
    if baseline is None:
        return lacking or f"this group has no {name}"
    gap = baseline.describe_gap(metric)
    gaps = [text for text in (cell.describe_gap(metric), f"{name}: {gap}" if gap else "") if text]
    if gaps:
        gaps.append("an average over unequal sets is refused")
    problems = gaps + find_unequal(cell, baseline, name, first_draws)
    if problems:
        return "; ".join(problems)
    own, other = cell.errors_by_seed(metric), baseline.errors_by_seed(metric)
    if not own:
        return "no confirm trial was planned, and none has ended"
    wrong = [seed for seed in own if not (0 <= own[seed] <= 1 and 0 <= other[seed] <= 1)]
    return f"errors that are no fractions from 0 to 1 (seed {format_ranges(wrong)})" if wrong else ""
