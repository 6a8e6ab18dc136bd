"""Known answers: scipy, statsmodels and hand computation; and the degenerate cases."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis import statistics

D = np.array([0.010, 0.020, -0.005, 0.007, 0.013])


def test_paired_t_by_hand() -> None:
    result = statistics.paired_t(D)
    mean, error = D.mean(), D.std(ddof=1) / math.sqrt(5)
    assert result.p_value == pytest.approx(2 * stats.t.sf(mean / error, 4))
    assert result.low == pytest.approx(mean - 2.776445 * error, rel=1e-6)
    assert result.high == pytest.approx(mean + 2.776445 * error, rel=1e-6)


def test_sign_flip_by_hand() -> None:
    # of the 32 sign patterns, +++++ and ++-++ have a mean >= the observed one; doubled for two sides
    assert statistics.sign_flip(D) == pytest.approx(4 / 32)
    assert statistics.sign_flip(np.abs(D)) == pytest.approx(2 / 32)
    assert statistics.sign_flip(np.full(8, 0.01)) == pytest.approx(2 / 256)


def test_sign_flip_monte_carlo_repeats() -> None:
    many = np.random.default_rng(0).normal(0.4, 1, 20)
    assert statistics.sign_flip(many) == statistics.sign_flip(many)
    assert statistics.sign_flip(many) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.03)


def test_holm_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []


def test_equivalence_by_hand() -> None:
    error = D.std(ddof=1) / math.sqrt(5)
    upper = stats.t.cdf((D.mean() - 0.05) / error, 4)
    lower = stats.t.sf((D.mean() + 0.05) / error, 4)
    assert statistics.equivalence(D, 0.05) == pytest.approx(max(upper, lower))


@pytest.mark.parametrize("seeds", [3, 5, 10, 40])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
def test_smallest_effect_has_power_080(seeds: int, alpha: float) -> None:
    differences = np.resize([1.0, -1.0, 0.5], seeds)
    size = statistics.smallest_effect(differences, alpha) / statistics.spread(differences)
    shift, threshold = size * math.sqrt(seeds), stats.t.isf(alpha / 2, seeds - 1)
    assert stats.nct.sf(threshold, seeds - 1, shift) == pytest.approx(0.8, abs=1e-4)


def test_smallest_effect_agrees_with_statsmodels() -> None:
    known = TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8)
    assert statistics.smallest_effect(D, 0.05) == pytest.approx(known * statistics.spread(D), rel=1e-4)


def test_seeds_to_see() -> None:
    spread = statistics.spread(D)
    known = math.ceil(TTestPower().solve_power(effect_size=0.5, alpha=0.05, power=0.8))
    assert statistics.seeds_to_see(0.5 * spread, D, 0.05) == known == 34
    assert statistics.seeds_to_see(1000 * spread, D, 0.05) == 3  # fewer give no verdict
    assert statistics.seeds_to_see(0.001 * spread, D, 0.05) is None
    assert statistics.seeds_to_see(0.01, np.full(5, 0.01), 0.05) is None


def test_attainability() -> None:
    assert statistics.seeds_for_sign_flip(1, 0.05) == 6  # 2/2^6 = 0.031
    assert statistics.seeds_for_sign_flip(5, 0.05) == 8  # 10/256 = 0.039
    assert statistics.seeds_for_sign_flip(26, 0.05) == 11  # 52/1024 = 0.0508 is too much


def test_no_spread_is_refused_not_nan() -> None:
    for call in (statistics.paired_t, lambda d: statistics.equivalence(d, 0.01)):
        with pytest.raises(ValueError, match="differences that differ"):
            call(np.full(5, 0.01))
    with pytest.raises(ValueError, match="at least ten"):
        statistics.bootstrap_interval(D, 0.05)
    assert statistics.constant(np.array([0.1 - 0.09, 0.2 - 0.19, 0.01]))
    assert statistics.all_zero(np.array([0.3 - 0.2 - 0.1, 0.0]))


def test_probability_better_counts_ties_half() -> None:
    value, low, high = statistics.probability_better(np.array([1.0, 1, 1, -1, 0, 0, 1, 1, -1, 1]), 0.05)
    assert value == pytest.approx(0.7)
    assert low < 0.7 < high <= 1
