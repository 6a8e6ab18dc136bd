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

    `errors` are the cell's own; `baseline` is what it was compared with.
    """

    cell: CellResults
    baseline: CellResults | None
    seeds: tuple[int, ...] = ()
    errors: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))
    differences: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))
    problem: str = ""


def pair_cells(records: Records, arranged: Sequence[Group]) -> list[Pairs]:
    """Every non-baseline cell of the study, in the order of the plan."""
    draws = count_shared_draws(records.study)
    compared = []
    for group in arranged:
        for cell in group.cells:
            if not cell.is_baseline and group.baseline is None and not cell.refused:
                compared.append(Pairs(cell, None, problem=group.without_baseline))
            elif not cell.is_baseline:
                compared.append(pair_seeds(cell, group.baseline, records.metric, first_draws=draws))
    return compared


def pair_seeds(
    cell: CellResults, baseline: CellResults | None, metric: str, name: str = "baseline", first_draws: int = 0
) -> Pairs:
    """Pairs by seed; refused unless both sides have every seed and had the same budget.

    Args:
        baseline: what the cell is compared with, another cell of its group; None: the records have none.
        name: what that is, for people.
        first_draws: how many search trials the two must have begun with the same draws.
    """
    if cell.refused:
        return Pairs(cell, baseline, problem=f"refused: {cell.refused}")
    if baseline is None:
        return Pairs(cell, None, problem=f"this group has no {name}")
    errors, references = cell.errors_by_seed(metric), baseline.errors_by_seed(metric)
    problems = _find_gaps(cell, baseline, metric, name) + find_unequal(cell, baseline, name, first_draws)
    if not problems and not errors:
        problems.append("no confirm trial was planned, and none has ended")
    if not problems:
        wrong = [seed for seed, error in errors.items() if not (0 <= error <= 1 and 0 <= references[seed] <= 1)]
        if wrong:
            problems.append(f"errors that are no fractions from 0 to 1 (seed {format_ranges(wrong)})")
    if problems:
        return Pairs(cell, baseline, problem="; ".join(problems))
    # rounded: 0.1 - 0.09 and 0.2 - 0.19 are the same difference
    differences = np.round([references[seed] - error for seed, error in errors.items()], 12)
    return Pairs(cell, baseline, tuple(errors), np.array(list(errors.values())), differences)


def _find_gaps(cell: CellResults, baseline: CellResults, metric: str, name: str) -> list[str]:
    gaps = []
    for prefix, side in (("", cell), (f"{name}: ", baseline)):
        gap = side.describe_gap(metric)
        if gap:
            gaps.append(prefix + gap)
    if gaps:
        gaps.append("an average over unequal sets is refused")
    return gaps
