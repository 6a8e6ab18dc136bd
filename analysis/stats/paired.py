"""The tests behind the verdicts: scipy and statsmodels, with the degenerate cases made explicit.

Unless it says otherwise, everything takes `differences`: d_s = error(baseline) - error(variant) per seed, as fractions;
positive means that the variant is better. Where a function knows of looks, its alpha is that of one look.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special  # scipy.stats and statsmodels take a second to import: where they are needed alone

from analysis.formatting import format_plural

Differences = NDArray[np.float64]

LEAST = 3  # seeds below which there is no test
WITH_EQUIVALENCE = 4
WITH_SIGN_FLIP = 6  # 2/2^6 = 0.031: the first n at which a sign-flip test can agree at 0.05
BY_SIGN_FLIP = 10
BY_PROBABILITY = 29  # Bouthillier et al. 2021: P(variant better) >= 0.75 can be told from 0.5 from here on
POWER = 0.8
EXACT_UP_TO = 16  # seeds: 2^16 sign patterns; above, Monte Carlo
RESAMPLES = 99_999
BOOTSTRAPS = 4999
MOST_SEEDS = 1000  # a plan for more is no plan
_ROUNDING = 1e-12  # differences of fractions such as 0.1 - 0.09 carry rounding of this order


@dataclass(frozen=True)
class PairedT:
    """Two-sided paired t test of mean difference 0, with its confidence interval (fractions)."""

    p_value: float
    low: float
    high: float


def all_zero(differences: Differences) -> bool:
    """Whether baseline and variant agree in every seed."""
    return bool(np.max(np.abs(differences)) <= _ROUNDING)


def is_constant(differences: Differences) -> bool:
    """Whether all differences are one value: a t test has no spread to divide by."""
    return bool(np.ptp(differences) <= _ROUNDING)


def compute_spread(differences: Differences) -> float:
    """Standard deviation of the differences (n - 1)."""
    return float(np.std(differences, ddof=1))


def run_paired_t(differences: Differences, alpha: float = 0.05) -> PairedT:
    """Paired t test and its 1 - alpha interval, as scipy's `ttest_rel` has them.

    Raises:
        ValueError: fewer than 2 differences, or no spread among them (see `is_constant`).
    """
    if len(differences) < 2 or is_constant(differences):
        raise ValueError("a t test needs at least two differences that differ")
    freedom, mean = len(differences) - 1, float(differences.mean())
    error = compute_spread(differences) / len(differences) ** 0.5
    half = float(special.stdtrit(freedom, 1 - alpha / 2)) * error
    return PairedT(2 * float(special.stdtr(freedom, -abs(mean / error))), mean - half, mean + half)


def test_mean_difference(differences: Differences) -> float:
    """p of the paired t test; of the sign-flip test where all differences are one value, and 1 where that is 0."""
    if all_zero(differences):
        return 1.0
    if is_constant(differences):
        return sign_flip(differences)
    return run_paired_t(differences).p_value


def sign_flip(differences: Differences) -> float:
    """Two-sided p of the sign-flip test on the mean: exact up to 16 differences, seeded Monte Carlo above.

    Equal to scipy's `permutation_test(permutation_type="samples")`, which takes 0.2 s where this takes 1 ms: the sign
    patterns are made once for all cells of a study. Monte Carlo counts the pattern observed too (Phipson & Smyth 2010).
    """
    count = len(differences)
    observed = abs(float(differences.sum())) - _ROUNDING * count
    if count <= EXACT_UP_TO:
        return float(np.mean(np.abs(_list_patterns(count) @ differences) >= observed))
    as_large = sum(int((np.abs(part @ differences) >= observed).sum()) for part in _draw_flips(count))
    return (1 + as_large) / (1 + RESAMPLES)


@functools.lru_cache(maxsize=EXACT_UP_TO)
def _list_patterns(count: int) -> Differences:
    """Half of the sign patterns, 2^(count - 1) x count; the other half mirrors it and has the same sizes."""
    bits = np.arange(2 ** (count - 1))[:, None] >> np.arange(count)
    return np.asarray(1.0 - 2.0 * (bits & 1), dtype=np.float64)


@functools.lru_cache(maxsize=4)
def _draw_flips(count: int) -> list[NDArray[np.int8]]:
    """99,999 random sign patterns of `count`, in parts that turn into floats without much memory."""
    signs = 2 * np.random.default_rng(0).integers(0, 2, (RESAMPLES, count), np.int8) - 1
    return np.array_split(signs, 10)


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p values of one family, in the order given; equal to statsmodels' `multipletests`."""
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        least = max(least, (len(p_values) - rank) * float(p_values[index]))
        adjusted[index] = min(least, 1.0)
    return adjusted


def test_equivalence(differences: Differences, rope: float) -> float:
    """p of the two one-sided paired t tests: small means that the mean difference lies within +-rope (fraction).

    Raises:
        ValueError: no spread among the differences.
    """
    if len(differences) < 2 or is_constant(differences):
        raise ValueError("a t test needs at least two differences that differ")
    from statsmodels.stats.weightstats import ttost_paired

    return float(ttost_paired(differences, np.zeros_like(differences), -rope, rope)[0])


def equivalence_from(differences: Differences, rope: float, always: int = BY_SIGN_FLIP) -> int:
    """How many differences an equivalence test takes: 4 where the ROPE is at least twice their spread, else `always`.

    Of few differences that scatter widely the spread itself is hardly known; more of them narrow the mean down all the
    same.
    """
    return WITH_EQUIVALENCE if rope >= 2 * compute_spread(differences) else always


def _detects(size: float, seeds: int, alpha: float) -> bool:
    """Whether a two-sided paired t test sees an effect of `size` standard deviations with power 0.8.

    By the tail on the effect's side alone, as statsmodels' `TTestPower` has it for one side. Nothing here calls its
    `solve_power`, whose search stops at 5.5 sd for 3 seeds and alpha 0.001 (power 0.13).
    """
    critical = special.stdtrit(seeds - 1, 1 - alpha / 2)
    missed = special.nctdtr(seeds - 1, size * seeds**0.5, critical)
    return not 1 - missed < POWER


@functools.lru_cache(maxsize=4096)
def effect_in_sd(seeds: int, alpha: float) -> float:
    """The smallest mean difference, in standard deviations of d, that a paired t test at `alpha` sees with power 0.8.

    Raises:
        ValueError: fewer than 2 seeds, which give no test.
    """
    if seeds < 2:
        raise ValueError("a t test needs at least two seeds")
    low, high = 0.0, 1.0
    while not _detects(high, seeds, alpha):
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if _detects(middle, seeds, alpha):
            high = middle
        else:
            low = middle
    return high


def smallest_effect(differences: Differences, alpha: float) -> float:
    """The mean difference (fraction) that a paired t test at `alpha` sees with power 0.8, given this spread."""
    return effect_in_sd(len(differences), alpha) * compute_spread(differences)


def seeds_for_sign_flip(family: int, alpha: float) -> int:
    """Fewest seeds at which the exact sign-flip test, Holm-adjusted over `family` cells, can fall below alpha.

    The smallest p is 2/2^n; the first step of Holm multiplies it by the size of the family.
    """
    seeds = 1
    while family * 2.0 / 2.0**seeds >= alpha:
        seeds += 1
    return seeds


def is_attainable(seeds: int, family: int, alpha: float, looks: int = 1) -> bool:
    """Whether any HELPS or HURTS can be reached with so many seeds over a family of so many cells."""
    if seeds < BY_SIGN_FLIP:
        return seeds >= LEAST and _least_p_value(seeds, family) < alpha * looks
    return _least_p_value(seeds, family) < alpha


def _least_p_value(seeds: int, family: int) -> float:
    """The least p that the sign-flip test can have where so many seeds let it speak; 0: it doesn't.

    From 6 seeds on it must agree, unadjusted; from 10 on it decides, adjusted by Holm over the family.
    """
    if seeds < WITH_SIGN_FLIP:
        return 0.0
    if seeds < BY_SIGN_FLIP:
        return 2.0 / 2.0**seeds
    least = 2.0 / 2.0**seeds if seeds <= EXACT_UP_TO else 1.0 / (1 + RESAMPLES)
    return min(1.0, family * least)


def describe_unattainable(seeds: int, family: int, alpha: float, looks: int = 1) -> str:
    """The sentence that says why so many seeds can reach no HELPS or HURTS and how many can; empty where they can."""
    if is_attainable(seeds, family, alpha, looks):
        return ""
    enough = attainable_from(seeds, family, alpha, looks)
    remedy = f"{enough} seeds can" if enough else "no number of seeds can: judge fewer cells in one study"
    if seeds < LEAST:
        why = f"there is no test below {LEAST} seeds"
    elif seeds < BY_SIGN_FLIP:
        why = f"the sign-flip test must agree, and its least p there is 2/2^{seeds} = {_least_p_value(seeds, 1):.2g}"
    else:
        cells, least = format_plural(family, "cell"), _least_p_value(seeds, family)
        why = f"the least p of the sign-flip test, corrected for {cells}, is {least:.2g}"
    return f"{format_plural(seeds, 'seed')} cannot reach HELPS or HURTS ({why}); {remedy}"


def seeds_to_see(effect: float, differences: Differences, alpha: float) -> int | None:
    """Fewest seeds with which a paired t test at `alpha` sees `effect` (fraction) with power 0.8; at least 3.

    None: more than 1,000, or no spread to plan with.
    """
    if effect <= 0 or is_constant(differences):
        return None
    size = effect / compute_spread(differences)
    if effect_in_sd(MOST_SEEDS, alpha) > size:
        return None
    # bisection: power grows with seeds; `effect_in_sd` remembers what it found for other cells
    return bisect.bisect_left(range(MOST_SEEDS), -size, lo=LEAST, key=lambda seeds: -effect_in_sd(seeds, alpha))


def seeds_needed(effect: float, differences: Differences, family: int, alpha: float, looks: int = 1) -> int | None:
    """Fewest seeds that see `effect` (fraction) at Holm's hardest step and can reach a verdict; None: more than 1,000.

    Without any spread the sign-flip test alone decides, whatever the effect.
    """
    if is_constant(differences):
        return seeds_for_sign_flip(family, alpha)
    seeds = seeds_to_see(effect, differences, alpha / family)
    return None if seeds is None else attainable_from(seeds, family, alpha, looks)


def attainable_from(seeds: int, family: int, alpha: float, looks: int = 1) -> int | None:
    """The first number of seeds from `seeds` on that can reach a verdict; None: more than 1,000."""
    return next((more for more in range(seeds, MOST_SEEDS + 1) if is_attainable(more, family, alpha, looks)), None)


def bootstrap_interval(differences: Differences, alpha: float) -> tuple[float, float]:
    """BCa bootstrap interval of the mean difference; shown from 10 seeds on, never decides.

    Raises:
        ValueError: fewer than 10 differences (its coverage is too low there), or no spread.
    """
    if len(differences) < 10 or is_constant(differences):
        raise ValueError("a bootstrap interval needs at least ten differences that differ")
    from scipy import stats

    result = stats.bootstrap(
        (differences,), np.mean, confidence_level=1 - alpha, n_resamples=BOOTSTRAPS, rng=np.random.default_rng(0)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def probability_better(differences: Differences, alpha: float) -> tuple[float, float, float]:
    """P(variant better) on paired seeds, ties counting half, with its percentile bootstrap interval.

    Bouthillier et al. 2021, section 5: a variant should win at least 3 of 4 runs to be worth having.
    """
    wins = np.where(np.abs(differences) <= _ROUNDING, 0.5, differences > 0).astype(float)
    draws = np.random.default_rng(0).integers(0, len(wins), (BOOTSTRAPS, len(wins)))
    low, high = np.quantile(wins[draws].mean(axis=1), (alpha / 2, 1 - alpha / 2))
    return float(wins.mean()), float(low), float(high)


def compute_correlation(errors: Differences, other: Differences) -> float | None:
    """Pearson's correlation of two series of errors; None below 3 values or where one series is constant."""
    if len(errors) < LEAST or is_constant(errors) or is_constant(other):
        return None
    return float(np.corrcoef(errors, other)[0, 1])


def compute_iqm(values: Sequence[float]) -> float:
    """Interquartile mean: the mean of the middle half (scipy `trim_mean`); Agarwal et al. 2021."""
    from scipy import stats

    return float(stats.trim_mean(np.asarray(values, dtype=float), 0.25))


def iqm_interval(errors_by_dataset: Mapping[str, Sequence[float]], alpha: float) -> tuple[float, float]:
    """Percentile interval of the IQM over all runs: seeds are drawn anew within each dataset (stratified bootstrap).

    It says how the figure would vary with other seeds on these datasets, nothing of other datasets.

    Raises:
        ValueError: no dataset, fewer than 3 seeds, or not the same number on every dataset, which would weigh
            datasets unequally.
    """
    counts = {len(values) for values in errors_by_dataset.values()}
    if len(counts) != 1 or min(counts) < LEAST:
        raise ValueError(f"an interval of the IQM needs the same number of seeds, {LEAST} or more, on every dataset")
    from scipy import stats

    errors = np.array([list(values) for values in errors_by_dataset.values()], dtype=float)  # datasets x seeds
    generator = np.random.default_rng(0)
    draws = generator.integers(0, errors.shape[1], (BOOTSTRAPS, *errors.shape))
    drawn = np.take_along_axis(np.broadcast_to(errors, draws.shape), draws, axis=2).reshape(BOOTSTRAPS, -1)
    low, high = np.quantile(stats.trim_mean(drawn, 0.25, axis=1), (alpha / 2, 1 - alpha / 2))
    return float(low), float(high)


@dataclass(frozen=True)
class McNemar:
    """Two trained networks on the same test images: how many images only one of them gets right, and the exact p."""

    only_baseline: int
    only_variant: int
    p_value: float


def run_mcnemar(baseline_correct: NDArray[np.bool_], variant_correct: NDArray[np.bool_]) -> McNemar:
    """Exact McNemar test (statsmodels). It compares two trained networks, not two methods: seeds have no part in it.

    Args:
        baseline_correct, variant_correct: whether each test image was classified correctly, in the same order.

    Raises:
        ValueError: not the same number of images, or none.
    """
    if baseline_correct.shape != variant_correct.shape or not baseline_correct.size:
        raise ValueError("McNemar's test needs the predictions of both networks for the same test images")
    only_baseline = int((baseline_correct & ~variant_correct).sum())
    only_variant = int((~baseline_correct & variant_correct).sum())
    from statsmodels.stats.contingency_tables import mcnemar as exact_mcnemar

    result = exact_mcnemar([[0, only_baseline], [only_variant, 0]], exact=True)
    return McNemar(only_baseline, only_variant, float(result.pvalue))
