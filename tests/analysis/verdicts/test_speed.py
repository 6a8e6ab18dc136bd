"""Epochs and seconds to an error: first arrivals, seeds that never get there, targets, and what intervals promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import testing
from analysis.records.model import Records
from analysis.verdicts.results import StudyResults
from analysis.verdicts.speed import Speed, measure_speeds
from suite.core.records import EPOCH_COLUMNS

Curves = Mapping[str, Sequence[Sequence[float]]]  # cell name -> validation errors by epoch, seed by seed
TIMES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds of each epoch
BASE = [[0.5, 0.4, 0.3, 0.22, 0.21], [0.5, 0.4, 0.2, 0.3, 0.25], [0.5, 0.5, 0.5, 0.3, 0.20]]
QUICK = [[0.5, 0.2, 0.2, 0.2, 0.20], [0.2, 0.4, 0.2, 0.3, 0.15], [0.5, 0.5, 0.2, 0.3, 0.20]]


def make_findings(curves: Curves, errors: testing.Errors | None = None, **fields: Any) -> StudyResults:
    """A study of one group with these curves; test errors scatter, so that every cell has a verdict."""
    errors = errors or {name: [0.1 + seed / 100 for seed in range(len(own))] for name, own in curves.items()}
    records = testing.make_study(errors)
    for name, value in fields.items():
        records.trials[name] = value
    return StudyResults(with_curves(records, {("digits", "cnn", name): own for name, own in curves.items()}))


def with_curves(records: Records, curves: Mapping[tuple[str, str, str], Sequence[Sequence[float]]]) -> Records:
    """The records with these histories, by dataset, backbone and variant; TIMES in turn are the seconds of an epoch."""
    rows = []
    for place, own in curves.items():
        for seed, curve in enumerate(own):
            key = "-".join([*place, "", "confirm", str(seed)])
            for epoch, error in enumerate(curve, start=1):
                rows.append((key, epoch, "validation_top1_error", error))
                rows.append((key, epoch, "train_seconds", TIMES[(epoch - 1) % len(TIMES)]))
    epochs = pd.DataFrame(rows, columns=list(EPOCH_COLUMNS))
    records.trials["epochs"] = max((len(curve) for own in curves.values() for curve in own), default=0)
    return Records(records.trials, epochs, records.study, records.superseded)


def by_variant(speeds: Sequence[Speed]) -> dict[str, Speed]:
    return {speed.cell_id.variant: speed for speed in speeds}


def test_arrivals_by_hand() -> None:
    speeds = by_variant(measure_speeds(make_findings({"baseline": BASE, "quick": QUICK}), 0.2))
    base, quick = speeds["baseline"], speeds["quick"]
    assert [(one.reached, one.epochs, one.seconds) for one in base.arrivals.values()] == [
        (False, 5, 31.0), (True, 3, 7.0), (True, 5, 31.0)
    ]  # fmt: skip
    assert [(one.reached, one.epochs, one.seconds) for one in quick.arrivals.values()] == [
        (True, 2, 3.0), (True, 1, 1.0), (True, 3, 7.0)
    ]  # fmt: skip
    assert (base.reached, base.median_epochs, base.median_seconds) == (2, 5, 31.0)
    assert (quick.reached, quick.median_epochs, quick.median_seconds) == (3, 2, 3.0)
    assert base.saved_epochs is None and quick.saved_epochs is not None and quick.saved_seconds is not None
    expected = stats.ttest_rel([5, 3, 5], [2, 1, 3])
    interval = expected.confidence_interval(0.95)
    saved = quick.saved_epochs
    assert (saved.mean, saved.low, saved.high) == pytest.approx((7 / 3, interval.low, interval.high))
    assert quick.saved_seconds.mean == pytest.approx((28 + 6 + 24) / 3)


def test_the_target_is_the_baselines_and_the_rope_on_top() -> None:
    speeds = measure_speeds(make_findings({"baseline": BASE, "quick": QUICK}))
    assert [speed.target for speed in speeds] == [pytest.approx(0.20 + 0.005)] * 2, "median of 0.21, 0.20 and 0.20"
    better = [[error / 2 for error in curve] for curve in QUICK]
    assert measure_speeds(make_findings({"baseline": BASE, "quick": better}))[0].target == speeds[0].target


def test_half_of_the_seeds_must_get_there_for_a_median() -> None:
    lost = [[0.5] * 5, [0.5] * 5, [0.5, 0.2, 0.2, 0.2, 0.2]]
    slow = by_variant(measure_speeds(make_findings({"baseline": BASE, "slow": lost}), 0.2))["slow"]
    assert (slow.reached, slow.median_epochs, slow.median_seconds) == (1, None, None)
    assert slow.saved_epochs is not None and slow.saved_epochs.mean == pytest.approx((0 - 2 + 3) / 3)


def test_equal_differences_have_no_interval_and_no_difference_is_0() -> None:
    later = [[0.9, *curve[:-1]] for curve in QUICK]
    speeds = by_variant(measure_speeds(make_findings({"baseline": QUICK, "same": QUICK, "later": later}), 0.2))
    same, behind = speeds["same"].saved_epochs, speeds["later"].saved_epochs
    assert same is not None and (same.mean, same.low, same.high) == (0, 0, 0)
    assert behind is not None and (behind.mean, behind.low, behind.high) == (-1, None, None)


def test_settled_is_from_when_the_error_stays_within_the_rope_of_the_last() -> None:
    curves = [[0.2, 0.5, 0.204, 0.199, 0.2], [0.2, 0.2, 0.2, 0.2, 0.2], [0.2, 0.2, 0.2, 0.3, 0.2]]
    [speed] = measure_speeds(make_findings({"baseline": curves}))
    assert [one.settled for one in speed.arrivals.values()] == [3, 1, 5]


def test_a_seed_that_diverged_counts_and_nothing_is_saved() -> None:
    curves = [[0.5, 0.2], QUICK[1], [0.5, 0.4]]
    findings = make_findings(
        {"baseline": BASE, "quick": curves}, {"baseline": [0.1, 0.11, 0.12], "quick": [None, 0.1, None]}
    )
    quick = by_variant(measure_speeds(findings, 0.2))["quick"]
    assert [(one.reached, one.epochs) for one in quick.arrivals.values()] == [(True, 2), (True, 1), (False, 5)]
    assert (quick.median_epochs, quick.saved_epochs) == (2, None)


def test_a_curve_that_is_not_there_is_named_and_no_pair_left_out() -> None:
    quick = by_variant(measure_speeds(make_findings({"baseline": BASE, "quick": [*QUICK[:2], []]}), 0.2))["quick"]
    assert (quick.without_curve, len(quick.arrivals), quick.saved_epochs) == ((2,), 2, None)


def test_times_of_several_devices_do_not_compare() -> None:
    devices = ["a GPU" if variant == "quick" else "a CPU" for variant in ["baseline"] * 7 + ["quick"] * 7]
    quick = by_variant(measure_speeds(make_findings({"baseline": BASE, "quick": QUICK}, device=devices), 0.2))["quick"]
    assert quick.several_devices and quick.saved_seconds is None
    assert quick.saved_epochs is not None and quick.median_seconds == 3.0, "its own seeds ran on one"
    mixed = ["a GPU", "a CPU"] * 7
    quick = by_variant(measure_speeds(make_findings({"baseline": BASE, "quick": QUICK}, device=mixed), 0.2))["quick"]
    assert quick.median_seconds is None and quick.saved_seconds is None


def test_by_the_studys_metric() -> None:
    findings = make_findings({"baseline": BASE, "quick": QUICK})
    records = testing.make_study({"baseline": [0.1], "quick": [0.1]}, metric="top5")
    epochs = findings.records.epochs.replace({"metric": {"validation_top1_error": "validation_top5_error"}})
    speeds = measure_speeds(StudyResults(Records(records.trials, epochs, records.study, records.superseded)), 0.2)
    assert [len(speed.arrivals) for speed in speeds] == [1, 1]


def draw_curves(generator: np.random.Generator, seeds: int, epochs: int, pace: float = 1.0) -> list[list[float]]:
    """Falling errors that scatter from seed to seed and from epoch to epoch; `pace` times as fast."""
    steps = np.arange(1, epochs + 1)
    last = 0.1 + generator.normal(0, 0.003, (seeds, 1))
    time = epochs / 8 / pace * np.exp(generator.normal(0, 0.1, (seeds, 1)))
    curves: list[list[float]] = (
        last + 0.5 * np.exp(-steps / time) + generator.normal(0, 0.004, (seeds, epochs))
    ).tolist()
    return curves


def share_of_intervals_without_0(pace: float, seeds: int = 5, groups: int = 300) -> tuple[float, float]:
    """How often a variant is found sooner, and later."""
    generator = np.random.default_rng(5)
    curves, errors = {}, {}
    for number in range(groups):
        place = ("digits", f"cnn{number}")
        curves[*place, "baseline"] = draw_curves(generator, seeds, 20)
        curves[*place, "quick"] = draw_curves(generator, seeds, 20, pace)
        errors[place] = {name: generator.normal(0.1, 0.01, seeds).tolist() for name in ("baseline", "quick")}
    speeds = measure_speeds(StudyResults(with_curves(testing.make_studies(errors), curves)))
    savings = [speed.saved_epochs for speed in speeds if speed.cell_id.variant == "quick"]
    sooner = [saving is not None and saving.low is not None and saving.low > 0 for saving in savings]
    later = [saving is not None and saving.high is not None and saving.high < 0 for saving in savings]
    return sum(sooner) / groups, sum(later) / groups


def test_without_an_effect_the_interval_holds_0_as_often_as_it_says() -> None:
    sooner, later = share_of_intervals_without_0(pace=1.0)
    assert 0 < sooner + later <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5
    assert sooner <= 0.025 + 2 * (0.025 * 0.975 / 300) ** 0.5, "the target favours no side"


def test_a_faster_variant_is_found() -> None:
    sooner, later = share_of_intervals_without_0(pace=2.0, seeds=10, groups=60)
    assert sooner > 0.8 and later == 0
