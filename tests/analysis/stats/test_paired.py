"""Known answers: scipy, statsmodels and hand computation; and the degenerate cases."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.stats import paired

D = np.array([0.010, 0.020, -0.005, 0.007, 0.013])


def test_paired_t_by_hand() -> None:
    result = paired.run_paired_t(D)
    mean, error = D.mean(), D.std(ddof=1) / math.sqrt(5)
    assert result.p_value == pytest.approx(2 * stats.t.sf(mean / error, 4))
    assert result.low == pytest.approx(mean - 2.776445 * error, rel=1e-6)
    assert result.high == pytest.approx(mean + 2.776445 * error, rel=1e-6)


def test_sign_flip_by_hand() -> None:
    # of the 32 sign patterns, +++++ and ++-++ have a mean >= the observed one; doubled for two sides
    assert paired.sign_flip(D) == pytest.approx(4 / 32)
    assert paired.sign_flip(np.abs(D)) == pytest.approx(2 / 32)
    assert paired.sign_flip(np.full(8, 0.01)) == pytest.approx(2 / 256)


def test_sign_flip_monte_carlo_repeats() -> None:
    many = np.random.default_rng(0).normal(0.4, 1, 20)
    assert paired.sign_flip(many) == paired.sign_flip(many)
    assert paired.sign_flip(many) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.03)


@pytest.mark.parametrize("seeds", [2, 5, 10, 12])
def test_sign_flip_agrees_with_scipy(seeds: int) -> None:
    differences = np.random.default_rng(seeds).normal(0.4, 1, seeds)
    known = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert paired.sign_flip(differences) == pytest.approx(known.pvalue)


def test_sign_flip_counts_ties_in_spite_of_rounding() -> None:
    """The sum is 0.4; of the 16 patterns one reaches 0.8, one 0.6, two 0.4 exactly, and their mirrors as many."""
    differences = np.array([0.1, 0.3, 0.2, -0.2])
    assert paired.sign_flip(differences) == pytest.approx(8 / 16)
    assert paired.sign_flip(np.array([0.3, 0.1, -0.2, 0.2])) == pytest.approx(8 / 16)


def test_sign_flip_monte_carlo_agrees_with_the_exact_test(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(3).normal(0.5, 1, 14)
    exact = paired.sign_flip(differences)
    monkeypatch.setattr(paired, "EXACT_UP_TO", 10)
    assert paired.sign_flip(differences) == pytest.approx(exact, abs=4 * math.sqrt(exact / 99_999))


def test_holm_by_hand() -> None:
    assert paired.adjust_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired.adjust_holm([]) == []


def test_equivalence_by_hand() -> None:
    error = D.std(ddof=1) / math.sqrt(5)
    upper = stats.t.cdf((D.mean() - 0.05) / error, 4)
    lower = stats.t.sf((D.mean() + 0.05) / error, 4)
    assert paired.test_equivalence(D, 0.05) == pytest.approx(max(upper, lower))


@pytest.mark.parametrize("seeds", [3, 5, 10, 40])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
def test_smallest_effect_has_power_080(seeds: int, alpha: float) -> None:
    differences = np.resize([1.0, -1.0, 0.5], seeds)
    size = paired.smallest_effect(differences, alpha) / paired.compute_spread(differences)
    shift, threshold = size * math.sqrt(seeds), stats.t.isf(alpha / 2, seeds - 1)
    assert stats.nct.sf(threshold, seeds - 1, shift) == pytest.approx(0.8, abs=1e-4)


def test_smallest_effect_agrees_with_statsmodels() -> None:
    known = TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8)
    assert paired.smallest_effect(D, 0.05) == pytest.approx(known * paired.compute_spread(D), rel=1e-4)


def test_seeds_to_see() -> None:
    spread = paired.compute_spread(D)
    known = math.ceil(TTestPower().solve_power(effect_size=0.5, alpha=0.05, power=0.8))
    assert paired.seeds_to_see(0.5 * spread, D, 0.05) == known == 34
    assert paired.seeds_to_see(1000 * spread, D, 0.05) == 3  # fewer give no verdict
    assert paired.seeds_to_see(0.001 * spread, D, 0.05) is None
    assert paired.seeds_to_see(0.01, np.full(5, 0.01), 0.05) is None


def test_attainability() -> None:
    assert paired.seeds_for_sign_flip(1, 0.05) == 6  # 2/2^6 = 0.031
    assert paired.seeds_for_sign_flip(5, 0.05) == 8  # 10/256 = 0.039
    assert paired.seeds_for_sign_flip(26, 0.05) == 11  # 52/1024 = 0.0508 is too much


@pytest.mark.parametrize(
    ("seeds", "family", "alpha", "looks", "expected"),
    [
        (2, 1, 0.05, 1, False),
        (3, 500, 0.05, 1, True),
        (6, 500, 0.05, 1, True),
        (6, 1, 0.01, 1, False),  # the sign-flip test must agree, and can't below 0.031
        (6, 1, 0.025, 2, True),  # unadjusted: at the study's alpha, not at that of a look
        (10, 25, 0.05, 1, True),
        (10, 26, 0.05, 1, False),
        (11, 26, 0.05, 1, True),
        (20, 4999, 0.05, 1, True),
        (20, 5001, 0.05, 1, False),  # 99,999 random flips have no p below 1/100,000
    ],
)
def test_what_is_attainable(seeds: int, family: int, alpha: float, looks: int, expected: bool) -> None:
    assert paired.is_attainable(seeds, family, alpha, looks) is expected
    assert (paired.describe_unattainable(seeds, family, alpha, looks) == "") is expected


def test_the_sentence_of_what_is_not_attainable() -> None:
    assert paired.describe_unattainable(10, 26, 0.05) == (
        "10 seeds cannot reach HELPS or HURTS (the least p of the sign-flip test, corrected for 26 cells, is 0.051); "
        "11 seeds can"
    )
    assert paired.describe_unattainable(1, 1, 0.05).endswith("(there is no test below 3 seeds); 3 seeds can")
    assert paired.describe_unattainable(20, 6000, 0.05).endswith(
        "no number of seeds can: judge fewer cells in one study"
    )


def test_effect_in_sd_needs_two_seeds() -> None:
    assert paired.effect_in_sd(5, 0.05) == pytest.approx(TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8))
    with pytest.raises(ValueError, match="at least two seeds"):
        paired.effect_in_sd(1, 0.05)


def test_mcnemar_agrees_with_the_binomial_test() -> None:
    baseline = np.array([True] * 90 + [False] * 10)
    variant = np.array([True] * 88 + [False] * 2 + [True] * 9 + [False])
    found = paired.run_mcnemar(baseline, variant)
    assert (found.only_baseline, found.only_variant) == (2, 9)
    assert found.p_value == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert paired.run_mcnemar(baseline, baseline).p_value == 1.0
    with pytest.raises(ValueError, match="same test images"):
        paired.run_mcnemar(baseline, variant[:-1])


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    assert paired.compute_iqm([9.0, 1, 2, 3, 4, 5, 6, 0]) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_iqm_interval_is_stratified_and_seeded() -> None:
    """Two datasets whose seeds agree: drawing within each leaves nothing to chance; pooled draws would vary."""
    flat = {"easy": [0.1] * 4, "hard": [0.5] * 4}
    assert paired.iqm_interval(flat, 0.05) == pytest.approx((0.3, 0.3))
    generator = np.random.default_rng(4)
    errors = {name: generator.normal(0.2, 0.01, 10).tolist() for name in ("a", "b", "c")}
    low, high = paired.iqm_interval(errors, 0.05)
    assert low < paired.compute_iqm([error for own in errors.values() for error in own]) < high
    assert paired.iqm_interval(errors, 0.05) == (low, high)
    with pytest.raises(ValueError, match="same number of seeds"):
        paired.iqm_interval({"a": [0.1] * 3, "b": [0.1] * 4}, 0.05)


def test_correlation() -> None:
    assert paired.compute_correlation(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])) == pytest.approx(1)
    assert paired.compute_correlation(np.array([1.0, 2]), np.array([2.0, 4])) is None
    assert paired.compute_correlation(np.full(3, 0.1), D[:3]) is None


def test_no_spread_is_refused_not_nan() -> None:
    for call in (paired.run_paired_t, lambda d: paired.test_equivalence(d, 0.01)):
        with pytest.raises(ValueError, match="differences that differ"):
            call(np.full(5, 0.01))
    with pytest.raises(ValueError, match="at least ten"):
        paired.bootstrap_interval(D, 0.05)
    assert paired.is_constant(np.array([0.1 - 0.09, 0.2 - 0.19, 0.01]))
    assert paired.all_zero(np.array([0.3 - 0.2 - 0.1, 0.0]))


def test_probability_better_counts_ties_half() -> None:
    value, low, high = paired.probability_better(np.array([1.0, 1, 1, -1, 0, 0, 1, 1, -1, 1]), 0.05)
    assert value == pytest.approx(0.7)
    assert low < 0.7 < high <= 1
