"""The tests behind the verdicts: scipy and statsmodels, with the degenerate cases made explicit.

Everything takes `differences`: d_s = error(baseline) - error(variant) per seed, as fractions; positive means that
the variant is better.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

Differences = NDArray[np.float64]

POWER = 0.8
EXACT_UP_TO = 16  # seeds: 2^16 sign patterns; above, Monte Carlo
RESAMPLES = 99_999
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


def constant(differences: Differences) -> bool:
    """Whether all differences are one value: a t test has no spread to divide by."""
    return bool(np.ptp(differences) <= _ROUNDING)


def spread(differences: Differences) -> float:
    """Standard deviation of the differences (n - 1)."""
    return float(np.std(differences, ddof=1))


def paired_t(differences: Differences, alpha: float = 0.05) -> PairedT:
    """Paired t test and its 1 - alpha interval (scipy `ttest_rel`).

    Raises:
        ValueError: fewer than 2 differences, or no spread among them (see `constant`).
    """
    if len(differences) < 2 or constant(differences):
        raise ValueError("a t test needs at least two differences that differ")
    result = stats.ttest_rel(differences, np.zeros_like(differences))
    interval = result.confidence_interval(1 - alpha)
    return PairedT(float(result.pvalue), float(interval.low), float(interval.high))


def sign_flip(differences: Differences, seed: int = 0) -> float:
    """Two-sided p of the sign-flip test on the mean: exact up to 16 seeds, seeded Monte Carlo above."""
    exact = len(differences) <= EXACT_UP_TO
    result = stats.permutation_test(
        (differences,),
        lambda values, axis: np.mean(values, axis=axis),
        permutation_type="samples",  # one sample: its signs are flipped
        vectorized=True,
        n_resamples=np.inf if exact else RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return min(1.0, float(result.pvalue))


def holm(p_values: Sequence[float], alpha: float = 0.05) -> list[float]:
    """Holm-adjusted p values of one family (statsmodels), in the order given."""
    return [float(p) for p in multipletests(p_values, alpha=alpha, method="holm")[1]] if len(p_values) else []


def equivalence(differences: Differences, rope: float) -> float:
    """p of the two one-sided paired t tests: small means that the mean difference lies within +-rope (fraction).

    Raises:
        ValueError: no spread among the differences.
    """
    if len(differences) < 2 or constant(differences):
        raise ValueError("a t test needs at least two differences that differ")
    return float(ttost_paired(differences, np.zeros_like(differences), -rope, rope)[0])


def _sees(size: float, seeds: int, alpha: float) -> bool:
    """Whether a two-sided paired t test sees an effect of `size` standard deviations with power 0.8.

    By the tail on the effect's side alone: scipy's noncentral t gives NaN in the other one for large effects, and now
    and then in this one when the power is 1 to six digits. For the same reason nothing here calls `solve_power`,
    whose search stops at 5.5 sd for 3 seeds and alpha 0.001 (power 0.13).
    """
    power = TTestPower().power(size, seeds, alpha / 2, alternative="larger")
    return not power < POWER


@functools.lru_cache(maxsize=4096)
def _effect_in_sd(seeds: int, alpha: float) -> float:
    low, high = 0.0, 1.0
    while not _sees(high, seeds, alpha):
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _sees(middle, seeds, alpha) else (middle, high)
    return high


def smallest_effect(differences: Differences, alpha: float) -> float:
    """The mean difference (fraction) that a paired t test at `alpha` sees with power 0.8, given this spread."""
    return _effect_in_sd(len(differences), alpha) * spread(differences)


def seeds_for_sign_flip(family: int, alpha: float) -> int:
    """Fewest seeds at which the exact sign-flip test, Holm-adjusted over `family` cells, can fall below alpha.

    The smallest p is 2/2^n; the first step of Holm multiplies it by the size of the family.
    """
    seeds = 1
    while family * 2.0 / 2.0**seeds >= alpha:
        seeds += 1
    return seeds


def seeds_to_see(effect: float, differences: Differences, alpha: float) -> int | None:
    """Fewest seeds with which a paired t test at `alpha` sees `effect` (fraction) with power 0.8; at least 3.

    None: more than 1,000, or no spread to plan with.
    """
    if effect <= 0 or constant(differences):
        return None
    size = effect / spread(differences)
    if not _sees(size, MOST_SEEDS, alpha):
        return None
    low, high = 2, MOST_SEEDS  # bisection: power grows with seeds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _sees(size, middle, alpha) else (middle, high)
    return high


def bootstrap_interval(differences: Differences, alpha: float, seed: int = 0) -> tuple[float, float]:
    """BCa bootstrap interval of the mean difference; shown from 10 seeds on, never decides.

    Raises:
        ValueError: fewer than 10 differences (its coverage is too low there), or no spread.
    """
    if len(differences) < 10 or constant(differences):
        raise ValueError("a bootstrap interval needs at least ten differences that differ")
    result = stats.bootstrap(
        (differences,), np.mean, confidence_level=1 - alpha, n_resamples=4999, rng=np.random.default_rng(seed)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def probability_better(differences: Differences, alpha: float, seed: int = 0) -> tuple[float, float, float]:
    """P(variant better) on paired seeds, ties counting half, with its percentile bootstrap interval.

    Bouthillier et al. 2021, section 5: a variant should win at least 3 of 4 runs to be worth having.
    """
    wins = np.where(np.abs(differences) <= _ROUNDING, 0.5, differences > 0).astype(float)
    draws = np.random.default_rng(seed).integers(0, len(wins), (4999, len(wins)))
    low, high = np.quantile(wins[draws].mean(axis=1), (alpha / 2, 1 - alpha / 2))
    return float(wins.mean()), float(low), float(high)
