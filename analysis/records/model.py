"""What a study's records are in memory: `Records`, and its cells in groups."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.formatting import format_plural, format_ranges
from analysis.records.description import StudyDescription
from suite.core.records import Record
from suite.core.specs import BASELINE, CellId, format_label

METRICS = {"top1": "test_top1_error", "top5": "test_top5_error"}
_ABSENCES = {"running": "not finished", "completed": "without a test error"}  # by status; others are said as they are


@dataclass(frozen=True, eq=False)
class Records:
    """Trials (one row each), epochs (long) and the study's plan.

    Attributes:
        superseded: rows of an earlier protocol.
        source: where they are from, as far as that is known: `tracking_uri` (without password), `experiment_id`,
            `collected` (UTC, ISO 8601); `files` of results from elsewhere.
        problems: what could not be used and why, what was taken for granted; sentences for people.
        folder: where the trials' predictions lie beside these records; None: in memory alone.
        lost: dataset, backbone and confirm seed of rows that were set aside: their groups must have those seeds.
    """

    trials: pd.DataFrame
    epochs: pd.DataFrame
    study: StudyDescription
    superseded: pd.DataFrame
    source: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    folder: Path | None = None
    lost: frozenset[tuple[str, str, int]] = frozenset()

    @property
    def metric(self) -> str:
        """The column of the primary metric."""
        return METRICS[self.study.metric]

    @property
    def alpha(self) -> float:
        """Chance of any false HELPS or HURTS at one look: the study's alpha, split evenly over its planned looks."""
        return self.study.alpha / self.study.looks

    @property
    def rope(self) -> float:
        """Half-width of the region of practical equivalence, a fraction."""
        return self.study.rope


@dataclass(frozen=True)
class CellResults:
    """A cell with its trials. `refused`: the sentence with which the plan refused it.

    `in_family`: it counts in Holm's correction, whatever became of its trials (neither refused nor the baseline).
    """

    dataset: str
    backbone: str
    variant: str
    settings: str
    refused: str | None
    in_family: bool
    expected: tuple[int, ...]  # confirm seeds that the group must have, planned or tried
    searches: int  # planned search trials
    search: tuple[Record, ...]
    confirm: tuple[Record, ...]

    @property
    def cell_id(self) -> CellId:
        return CellId(self.dataset, self.backbone, self.variant, self.settings)

    @property
    def label(self) -> str:
        return format_label(self.variant, self.settings)

    @property
    def is_baseline(self) -> bool:
        return self.variant == BASELINE

    def records_by_seed(self) -> dict[int, Record]:
        """The confirm trials by seed, whatever their status."""
        return {record.seed: record for record in self.confirm}

    @property
    def doubtful(self) -> frozenset[int]:
        """Confirm seeds with several trials of which nothing says which counts."""
        trials = Counter(record.seed for record in self.confirm)
        return frozenset(seed for seed, number in trials.items() if number > 1)

    def errors_by_seed(self, metric: str) -> dict[int, float]:
        """Test error (fraction) by seed, of the completed confirm trials; a doubtful seed has none."""
        doubtful = self.doubtful
        errors: dict[int, float] = {}
        for record in self.confirm:
            error = getattr(record, metric)
            if record.status == "completed" and record.seed not in doubtful and error is not None:
                errors[record.seed] = error
        return {seed: error for seed, error in sorted(errors.items()) if math.isfinite(error)}

    @property
    def fruitless_search(self) -> str:
        """How the search trials ended, where none completed, so that there is nothing to confirm; else empty.

        `all 4 search trials diverged`, `none of 4 search trials completed (3 diverged, 1 failed)`.
        """
        ends = Counter(str(trial.status) for trial in self.search)
        if self.confirm or not ends or ends.keys() & {"completed", "running"}:
            return ""
        trials = format_plural(len(self.search), "search trial")
        if len(ends) == 1:
            return f"all {trials} {next(iter(ends))}"
        counts = ", ".join(f"{number} {status}" for status, number in ends.most_common())
        return f"none of {trials} completed ({counts})"

    def describe_gap(self, metric: str) -> str:
        """Why the test errors of this cell are no full set; empty when they are.

        `2 of 5 seeds diverged (1, 3)`, `no confirm trial: all 4 search trials diverged`.
        """
        if self.refused:
            return f"refused: {self.refused}"
        errors, records, doubtful = self.errors_by_seed(metric), self.records_by_seed(), self.doubtful
        missing = [seed for seed in self.expected if seed not in errors]
        if not missing:
            return ""
        if self.fruitless_search:
            return f"no confirm trial: {self.fruitless_search}"
        reasons: dict[str, list[int]] = defaultdict(list)
        for seed in missing:
            if seed in doubtful:
                reason = "with different results"
            elif seed in records:
                reason = _ABSENCES.get(records[seed].status, records[seed].status)
            else:
                reason = "missing"
            reasons[reason].append(seed)
        total = format_plural(len(self.expected), "seed")
        return "; ".join(f"{len(seeds)} of {total} {why} ({format_ranges(seeds)})" for why, seeds in reasons.items())


@dataclass(frozen=True)
class Group:
    """The cells of one dataset and backbone. `baseline` None: the records have none, or several."""

    dataset: str
    backbone: str
    baseline: CellResults | None
    cells: tuple[CellResults, ...]  # the baseline too, in the order of the plan

    @property
    def without_baseline(self) -> str:
        """Why nothing in the group has a reference; empty when it has one."""
        if self.baseline is not None:
            return ""
        settings = [cell.settings or "no settings" for cell in self.cells if cell.is_baseline]
        if not settings:
            return "this group has no baseline"
        return several_baselines("this group", settings)


def several_baselines(group: str, settings: Sequence[str]) -> str:
    """`this group has 2 baselines (no settings; lr=0.1), and nothing says which counts`."""
    return f"{group} has {len(settings)} baselines ({'; '.join(settings)}), and nothing says which counts"


# Field of a confirm record -> its name for people. Compared seed by seed, for with `resplit` the split varies by seed.
AUDITED: dict[str, str] = {
    "recipe": "recipe",
    "epochs": "epochs",
    "data": "training data",
    "split": "split",
    "test_data": "test data",
    "test_examples": "test images",
    "test_reads": "test reads",
    "batch": "batch",
    "micro_batch": "micro-batch",
    "precision": "precision",
    "memory_format": "memory format",
    "threads": "threads",
    "device_kind": "device kind",
}
