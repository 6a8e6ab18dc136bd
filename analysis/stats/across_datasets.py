"""Tests across datasets: the unit is the dataset's mean difference, never a (dataset, seed) pair.

Demsar 2006 (JMLR 7) for Wilcoxon, Friedman and what follows it; Benavoli et al. 2017 (JMLR 18) for the Bayesian test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.stats.paired import LEAST, Differences, all_zero, is_constant, sign_flip

_DRAWS = 4_000  # of the posterior: its probabilities are good to 0.02
_DECIMALS = 12  # differences of fractions carry rounding; equal ones must tie


def wilcoxon(differences: Differences) -> float:
    """Two-sided p of Wilcoxon's signed-rank test: exact up to 16 datasets, ties and zeros included (Pratt).

    It is the sign-flip test on signed ranks. scipy's `wilcoxon` agrees, but is exact with ties only by permutations
    that take it 3 s for 14 datasets.
    """
    rounded = np.round(differences, _DECIMALS)
    from scipy import stats

    return sign_flip(np.sign(rounded) * stats.rankdata(np.abs(rounded)))


def on_these(strata: Sequence[tuple[float, Differences]]) -> float | None:
    """Two-sided p that the weighted sum of the strata's means is 0, the datasets given and the seeds the only chance.

    Welch's t with Satterthwaite's degrees of freedom: each stratum has its own spread and number of seeds. Where a
    stratum has one value other than 0 in every seed, Welch would take it as known exactly, though on a small test set
    that comes by chance: then the sign-flip test over all seeds of all strata, as for a cell without spread.

    Args:
        strata: weight and differences by seed of each; seeds are taken to be independent between strata.

    Returns:
        None below 3 seeds in a stratum.
    """
    if any(len(values) < LEAST for _, values in strata):
        return None
    if all(all_zero(values) for _, values in strata):
        return 1.0
    if any(is_constant(values) and not all_zero(values) for _, values in strata):
        return sign_flip(np.concatenate([weight / len(values) * values for weight, values in strata]))
    mean = variance = divisor = 0.0
    for weight, values in strata:
        mean += weight * float(values.mean())
        if not is_constant(values):
            part = weight**2 * float(np.var(values, ddof=1)) / len(values)
            variance += part
            divisor += part**2 / (len(values) - 1)
    freedom = variance**2 / divisor
    return float(2 * special.stdtr(freedom, -abs(mean) / math.sqrt(variance)))


def compute_bayes(differences: Differences, rope: float) -> tuple[float, float, float]:
    """P(worse, within +-rope, better) on a further dataset: Bayesian signed-rank test (baycomp), seeded."""
    from baycomp import two_on_multiple  # a second to import

    worse, within, better = two_on_multiple(
        np.zeros_like(differences), differences, rope=rope, nsamples=_DRAWS, random_state=0
    )
    return float(worse), float(within), float(better)


@dataclass(frozen=True)
class Ranks:
    """Friedman's test of methods over datasets; rank 1 is the best.

    Attributes:
        statistic: Friedman's chi-square from the average ranks, as Demsar 2006 has it: without correction for ties,
            which makes it smaller where there are ties.
        iman_davenport: their F of it; infinite where all datasets rank alike.
        p_value: of F; of the chi-square where F is infinite.
        against_control: Holm-adjusted p of each method but the first against the first.
        critical_difference: Nemenyi's.
    """

    average: tuple[float, ...]
    statistic: float
    iman_davenport: float
    p_value: float
    against_control: tuple[float, ...]
    critical_difference: float


def run_friedman(errors: NDArray[np.float64], alpha: float) -> Ranks:
    """
    Args:
        errors: datasets x methods, lower is better; the first method is the control.

    Raises:
        ValueError: fewer than 3 methods or 2 datasets, or a value is missing.
    """
    count, methods = errors.shape
    if methods < 3 or count < 2 or not np.isfinite(errors).all():
        raise ValueError("Friedman's test takes three methods or more, each with a value on every dataset")
    from scikit_posthocs import posthoc_demsar  # seconds to import
    from scipy import stats

    rounded = np.round(errors, _DECIMALS)
    average = stats.rankdata(rounded, axis=1).mean(axis=0)
    spread = methods * (methods + 1) / (6 * count)  # variance of a difference of two average ranks
    statistic = float(12 * count / (methods * (methods + 1)) * ((average - (methods + 1) / 2) ** 2).sum())
    left = count * (methods - 1) - statistic
    if left > 1e-9:
        ratio = (count - 1) * statistic / left
        p_value = float(stats.f.sf(ratio, methods - 1, (methods - 1) * (count - 1)))
    else:
        ratio, p_value = math.inf, float(stats.chi2.sf(statistic, methods - 1))
    control = posthoc_demsar(rounded, control=0, p_adjust="holm").to_numpy()[0, 1:]
    q = float(stats.studentized_range.ppf(1 - alpha, methods, math.inf)) / math.sqrt(2)
    difference = q * math.sqrt(spread)
    return Ranks(tuple(average.tolist()), statistic, ratio, p_value, tuple(control.tolist()), difference)
