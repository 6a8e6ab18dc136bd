"""How soon networks reach an error: epochs and seconds of training until the validation error is first at a target.

A seed that never gets there counts as its whole training, on either side, so what is compared is the mean within the
budget that both had (a restricted mean: Royston and Parmar 2013). Leaving such seeds out would compare the lucky ones.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.records.histories import Histories
from analysis.records.model import CellResults, Group, Records
from analysis.stats import paired
from analysis.verdicts.results import StudyResults
from suite.core.specs import CellId

_VALIDATION = {"top1": "validation_top1_error", "top5": "validation_top5_error"}  # by the study's metric
_SECONDS = "train_seconds"
_ENDED = ("completed", "diverged")


@dataclass(frozen=True)
class Arrival:
    """When a confirm trial got to the target.

    Attributes:
        reached: whether it did.
        epochs, seconds: of training until then, or in all; `seconds` None: not measured.
        settled: the epoch from which the error stays within the ROPE of the last epoch's.
        device: its name, or its kind.
    """

    reached: bool
    epochs: int
    seconds: float | None
    settled: int
    device: str


@dataclass(frozen=True)
class Saving:
    """Mean of the paired differences, baseline less variant: positive when the variant is sooner; its t interval."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One cell.

    Attributes:
        target: validation error, a fraction; None: the group's baseline sets none.
        arrivals: by confirm seed; a seed whose curve wasn't recorded has none.
        without_curve: confirm seeds that ended, and have no curve.
        saved_epochs, saved_seconds: against the baseline; None: not comparable, or a side lacks a curve or its times.
        several_devices: the pair was timed on more than one device, so its seconds don't compare.
    """

    cell_id: CellId
    target: float | None
    arrivals: dict[int, Arrival]
    without_curve: tuple[int, ...]
    saved_epochs: Saving | None = None
    saved_seconds: Saving | None = None
    several_devices: bool = False

    @property
    def reached(self) -> int:
        return sum(arrival.reached for arrival in self.arrivals.values())

    @property
    def median_epochs(self) -> float | None:
        """Over all seeds; None where half of them or more never got there."""
        return _find_median([arrival.epochs for arrival in self.arrivals.values() if arrival.reached], self.arrivals)

    @property
    def median_seconds(self) -> float | None:
        """As `median_epochs`; None also where a time wasn't measured, or the seeds ran on several devices."""
        if len({arrival.device for arrival in self.arrivals.values()}) > 1:
            return None
        seconds = [arrival.seconds for arrival in self.arrivals.values() if arrival.reached]
        known = [number for number in seconds if number is not None]
        return _find_median(known, self.arrivals) if len(known) == len(seconds) else None

    @property
    def median_settled(self) -> float | None:
        """Over all seeds."""
        return statistics.median(arrival.settled for arrival in self.arrivals.values()) if self.arrivals else None


def _find_median(reached: Sequence[float], of_all: dict[int, Arrival]) -> float | None:
    """The median over all, those that never got there counted as later than any other."""
    median = statistics.median([*reached, *[math.inf] * (len(of_all) - len(reached))]) if of_all else math.inf
    return median if math.isfinite(median) else None


def measure_speeds(findings: StudyResults, target: float | None = None) -> list[Speed]:
    """Every cell, in the order of the plan.

    Args:
        target: validation error (a fraction) for all groups; None: each group's own, see `choose_target`.
    """
    records = findings.records
    metric = _VALIDATION[records.study.metric]
    histories = Histories(records.epochs[records.epochs["metric"].isin([metric, _SECONDS])])
    speeds = []
    for group in findings.groups:
        aim = choose_target(group, histories, records) if target is None else target
        of_baseline: dict[int, Arrival] = {}
        if group.baseline is not None and aim is not None:
            of_baseline = _list_arrivals(group.baseline, aim, histories, records)
        for cell in group.cells:
            speeds.append(_measure_cell(cell, aim, of_baseline, histories, findings))
    return speeds


def choose_target(group: Group, histories: Histories, records: Records) -> float | None:
    """The validation error that the baseline gets to: the median over its seeds of the lowest, and the ROPE on top.

    The variants have no say in it. Without the ROPE half of the baseline's own seeds would never get there.
    """
    if group.baseline is None:
        return None
    lowest = []
    for trial in group.baseline.confirm:
        _, errors = histories.read_curve(trial.trial_key, _VALIDATION[records.study.metric])
        if trial.status == "completed" and np.isfinite(errors).any():
            lowest.append(float(np.nanmin(errors)))
    return statistics.median(lowest) + records.rope if lowest else None


def _measure_cell(
    cell: CellResults, aim: float | None, of_baseline: dict[int, Arrival], histories: Histories, findings: StudyResults
) -> Speed:
    arrivals: dict[int, Arrival] = {}
    if aim is not None:
        arrivals = _list_arrivals(cell, aim, histories, findings.records)
    ended = {trial.seed for trial in cell.confirm if trial.status in _ENDED}
    absent = tuple(sorted(ended - arrivals.keys())) if aim is not None else ()
    speed = Speed(cell_id=cell.cell_id, target=aim, arrivals=arrivals, without_curve=absent)
    verdict = findings.by_cell.get(cell.cell_id)
    if verdict is None or not verdict.differences:  # the baseline, or not comparable
        return speed
    seeds = [seed for seed, _ in verdict.differences]
    if not all(seed in arrivals and seed in of_baseline for seed in seeds):
        return speed
    pairs = [(of_baseline[seed], arrivals[seed]) for seed in seeds]
    alpha = findings.records.alpha
    devices = {arrival.device for pair in pairs for arrival in pair}
    return dataclasses.replace(
        speed,
        saved_epochs=_average([theirs.epochs - own.epochs for theirs, own in pairs], alpha),
        saved_seconds=_save_seconds(pairs, alpha) if len(devices) == 1 else None,
        several_devices=len(devices) > 1,
    )


def _save_seconds(pairs: Sequence[tuple[Arrival, Arrival]], alpha: float) -> Saving | None:
    differences = []
    for theirs, own in pairs:
        if theirs.seconds is None or own.seconds is None:
            return None
        differences.append(theirs.seconds - own.seconds)
    return _average(differences, alpha)


def _average(differences: Sequence[float], alpha: float) -> Saving:
    """No interval below 3 seeds, nor where all differences are one value other than 0."""
    values = np.array(differences, dtype=float)
    mean = float(values.mean())
    if len(values) < paired.LEAST:
        return Saving(mean)
    if paired.all_zero(values):
        return Saving(0.0, 0.0, 0.0)
    if paired.is_constant(values):
        return Saving(mean)
    interval = paired.run_paired_t(values, alpha)
    return Saving(mean, interval.low, interval.high)


# -- a trial


def _list_arrivals(cell: CellResults, aim: float, histories: Histories, records: Records) -> dict[int, Arrival]:
    """By confirm seed, of trials that ended and have a curve. One that diverged may have got there before."""
    metric = _VALIDATION[records.study.metric]
    arrivals = {}
    for trial in cell.confirm:
        epochs, errors = histories.read_curve(trial.trial_key, metric)
        has_ended = trial.status in _ENDED and trial.seed not in cell.doubtful
        if not has_ended or not np.isfinite(errors).any():
            continue
        hits = np.flatnonzero(errors <= aim)
        reached = bool(hits.size)
        end = int(epochs[hits[0]]) if reached else trial.epochs
        seconds = _sum_seconds(histories, trial.trial_key, end if reached else int(epochs[-1]))
        settled = _find_settled(epochs, errors, records.rope)
        device = trial.device or trial.device_kind
        arrivals[trial.seed] = Arrival(reached, end, seconds, settled, device)
    return dict(sorted(arrivals.items()))


def _find_settled(epochs: NDArray[np.float64], errors: NDArray[np.float64], rope: float) -> int:
    """The first epoch of the last run of epochs whose errors are all within the ROPE of the last one's."""
    away = np.flatnonzero(~(np.abs(errors - errors[-1]) <= rope))
    if not away.size:
        return int(epochs[0])
    return int(epochs[min(away[-1] + 1, len(epochs) - 1)])  # a last one that is no number is away from itself


def _sum_seconds(histories: Histories, key: str, end: int) -> float | None:
    """Seconds of training up to an epoch; None where an epoch's weren't measured."""
    epochs, seconds = histories.read_curve(key, _SECONDS)
    until = seconds[epochs <= end]
    return float(until.sum()) if len(until) == end and np.isfinite(until).all() else None
