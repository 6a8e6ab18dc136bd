"""Verdicts on variants across datasets, from hand-made records; the tests behind them against known answers."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from analysis import testing
from analysis.stats import across_datasets, paired
from analysis.stats.complete_subset import without_gaps
from analysis.tables import overall
from analysis.verdicts.model import VariantVerdict
from analysis.verdicts.results import StudyResults

BASE = [0.100, 0.110, 0.105, 0.095, 0.102]
WAVE = [0.000, 0.001, -0.001, 0.0005, -0.0005]  # sums to 0
Gains = Sequence[float | None]  # by dataset: how much better the variant is; None: a seed diverged


def findings(variants: Mapping[str, Mapping[str, Gains]], seeds: int = 5, **changes: Any) -> StudyResults:
    """A study of `variants` (name -> backbone -> gain by dataset)."""
    places: dict[tuple[str, str], dict[str, list[float | None]]] = {}
    for name, by_backbone in variants.items():
        for backbone, gains in by_backbone.items():
            for index, gain in enumerate(gains):
                cells = places.setdefault((f"d{index}", backbone), {"baseline": list(BASE[:seeds])})
                own = [error - (gain or 0.0) - wave for error, wave in zip(BASE[:seeds], WAVE, strict=False)]
                cells[name] = [None, *own[1:]] if gain is None else list(own)
    return StudyResults(testing.make_studies(places, **changes))


def across(gains: Gains, seeds: int = 5, **changes: Any) -> VariantVerdict:
    (one,) = findings({"sire": {"cnn": gains}}, seeds, **changes).variants
    return one


def demsar() -> NDArray[np.float64]:
    """AUC, 14 datasets x 4 classifiers; the first is the control (Demsar 2006, table 6)."""
    rows = list(csv.reader((Path(__file__).parents[2] / "golden" / "demsar2006_table6.csv").open()))
    return np.array([[float(value) for value in row[1:]] for row in rows[1:]])


def test_the_worked_example_of_demsar() -> None:
    """Section 3.2: average ranks, Friedman 9.28, F 3.69, critical differences 1.25 and 1.12; p 0.016, 0.019, 0.607."""
    ranks = across_datasets.run_friedman(1 - demsar(), 0.05)
    assert ranks.average == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert ranks.statistic == pytest.approx(9.28, abs=5e-3)
    assert ranks.iman_davenport == pytest.approx(3.69, abs=5e-3)
    assert ranks.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert across_datasets.run_friedman(1 - demsar(), 0.10).critical_difference == pytest.approx(1.12, abs=5e-3)
    assert ranks.against_control == pytest.approx((2 * 0.0236, 0.608, 3 * 0.0157), abs=1e-3)


def test_friedman_agrees_with_scipy_where_there_are_no_ties() -> None:
    errors = np.random.default_rng(0).normal(0.1, 0.01, (9, 4))
    ranks, known = across_datasets.run_friedman(errors, 0.05), stats.friedmanchisquare(*errors.T)
    assert ranks.statistic == pytest.approx(known.statistic)
    f = 8 * known.statistic / (9 * 3 - known.statistic)
    assert ranks.iman_davenport == pytest.approx(f)
    assert ranks.p_value == pytest.approx(stats.f.sf(f, 3, 24))
    z = [abs(ranks.average[index] - ranks.average[0]) / math.sqrt(4 * 5 / (6 * 9)) for index in (1, 2, 3)]
    assert ranks.against_control == pytest.approx(paired.adjust_holm([2 * stats.norm.sf(value) for value in z]))


def test_friedman_where_all_datasets_agree() -> None:
    ranks = across_datasets.run_friedman(np.tile([0.3, 0.2, 0.1], (6, 1)), 0.05)
    assert ranks.iman_davenport == math.inf
    assert ranks.p_value == pytest.approx(stats.chi2.sf(12, 2))
    with pytest.raises(ValueError, match="three methods"):
        across_datasets.run_friedman(np.full((6, 3), math.nan), 0.05)


def test_wilcoxon_agrees_with_scipy() -> None:
    """Without ties scipy's exact distribution; with ties and zeros its exact permutations (Pratt)."""
    plain = np.random.default_rng(1).normal(0.3, 1, 9)
    assert across_datasets.wilcoxon(plain) == pytest.approx(stats.wilcoxon(plain, method="exact").pvalue)
    tied = np.array([0.0, 0.1, 0.1, -0.1, 0.2, 0.3, 0.3])
    known = stats.wilcoxon(tied, zero_method="pratt", method=stats.PermutationMethod(n_resamples=np.inf))
    assert across_datasets.wilcoxon(tied) == pytest.approx(known.pvalue)
    assert across_datasets.wilcoxon(np.zeros(6)) == 1.0
    first, second = demsar()[:, 0], demsar()[:, 2]
    assert across_datasets.wilcoxon(second - first) == pytest.approx(stats.wilcoxon(second - first).pvalue, abs=0.02)


def test_on_these_datasets_is_welch() -> None:
    """With weights 1 and -1 it is scipy's test of two means with unequal variances."""
    generator = np.random.default_rng(2)
    one, two = generator.normal(0.3, 1, 5), generator.normal(0, 2, 8)
    known = stats.ttest_ind(one, two, equal_var=False).pvalue
    assert across_datasets.on_these([(1.0, one), (-1.0, two)]) == pytest.approx(known)
    assert across_datasets.on_these([(0.5, one), (0.5, two[:2])]) is None
    assert across_datasets.on_these([(0.5, np.zeros(3)), (0.5, np.zeros(3))]) == 1.0


def test_one_value_in_every_seed_is_not_known_exactly() -> None:
    """Welch would give 1e-9 for five equal differences and two datasets around 0; five seeds can't say as much."""
    flat, near = np.full(5, 0.02), np.array([1, -1, 1, -1, 0]) * 1e-4
    p = across_datasets.on_these([(1 / 3, flat), (1 / 3, near), (1 / 3, -near)])
    assert p is not None and 0.03 < p <= 2 / 2**5
    both = across_datasets.on_these([(0.5, np.full(3, 0.1)), (0.5, np.full(3, 0.2))])
    assert both == pytest.approx(2 / 2**6)
    weighted = across_datasets.on_these([(0.9, np.full(3, 0.01)), (0.1, np.array([0.03, -0.05, 0.02]))])
    values = np.array([0.9 * 0.01] * 3 + [0.1 * 0.03, 0.1 * -0.05, 0.1 * 0.02])
    known = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert weighted == pytest.approx(known.pvalue)
    zero = [(0.5, np.zeros(5)), (0.5, np.array([0.01, 0.012, 0.011, 0.009, 0.01]))]
    assert across_datasets.on_these(zero) == pytest.approx(stats.ttest_1samp(zero[1][1], 0).pvalue)


def test_bayes_is_seeded_and_in_the_right_order() -> None:
    better = np.array([0.01, 0.02, 0.015, 0.03, 0.02, 0.01, 0.02, 0.025])
    worse, within, probably = across_datasets.compute_bayes(better, 0.005)
    assert probably > 0.95 > 0.05 > worse and worse + within + probably == pytest.approx(1)
    assert across_datasets.compute_bayes(better, 0.005) == (worse, within, probably)
    assert across_datasets.compute_bayes(-better, 0.005)[0] > 0.95
    assert across_datasets.compute_bayes(better / 20, 0.005)[1] > 0.95


@pytest.mark.parametrize("count", [1, 2])
def test_below_three_datasets_there_is_no_claim(count: int) -> None:
    one = across([0.02, 0.021][:count])
    assert one.verdict == "NOT ENOUGH EVIDENCE"
    assert one.p_these is None and one.p_like_these is None and one.ci_low is None
    assert one.mean_difference == pytest.approx([0.02, 0.0205][count - 1])
    assert one.reason.endswith(["1 dataset: no claim beyond it", "2 datasets: no claim beyond them"][count - 1])
    assert one.reason.startswith(f"helps on {count} of {count} dataset")


def test_single_runs_on_two_datasets() -> None:
    assert across([0.02, 0.021], seeds=1).verdict == "SINGLE RUN"


def test_three_to_five_datasets_are_decided_by_t_with_low_power() -> None:
    gains = [0.010, 0.012, 0.011, 0.014]
    better, worse = across(gains), across([-gain for gain in gains])
    known = stats.ttest_1samp(gains, 0)
    assert (better.verdict, worse.verdict) == ("HELPS", "HURTS")
    assert better.p_like_these == better.p_adjusted == pytest.approx(known.pvalue)
    assert better.test == "t" and "low power" in better.reason
    assert (better.ci_low, better.ci_high) == pytest.approx(tuple(known.confidence_interval(0.95)))
    assert "helps on 4 of 4 datasets; mean +1.18 pp" in better.reason
    assert "helps on datasets like these; on these datasets p < 0.0001" in better.reason
    assert "hurts on datasets like these" in worse.reason


def test_what_helps_on_these_need_not_help_on_others() -> None:
    one = across([0.04, 0.001, 0.0, 0.002])
    assert one.verdict == "NOT ENOUGH EVIDENCE"
    assert one.p_these is not None and one.p_these < 0.001
    assert one.p_like_these is not None and one.p_like_these > 0.05
    assert one.reason.startswith("helps on 2 of 4 datasets, equivalent on 2; mean +1.08 pp [")
    assert "not enough evidence for datasets like these (4 datasets can only see a mean of >= " in one.reason
    assert "on these datasets p < 0.0001" in one.reason


def test_what_does_not_hold_on_these_is_no_claim_on_others() -> None:
    """Datasets that agree by chance, on differences that their seeds don't tell from 0."""
    one = across([0.00030, 0.00031, 0.00029, 0.00030], rope=0.0001)
    assert one.p_adjusted is not None and one.p_adjusted < 0.001 and one.ci_low is not None and one.ci_low > 0
    assert one.p_these is not None and one.p_these > 0.05
    assert one.verdict == "NOT ENOUGH EVIDENCE"
    assert "not enough evidence for datasets like these; on these datasets p = 0.1" in one.reason


def test_from_six_datasets_on_wilcoxon_decides() -> None:
    one = across([0.010, 0.012, 0.011, 0.014, 0.02, 0.008])
    assert one.verdict == "HELPS"
    assert one.p_like_these == one.sign_flip_p == pytest.approx(2 / 64)
    assert one.test == "Wilcoxon signed-rank" and "low power" not in one.reason
    assert one.bayes is None


def test_one_large_dataset_leaves_the_mean_open() -> None:
    """All ranks point one way, yet the interval of the mean includes 0."""
    one = across([0.001, 0.0012, 0.0011, 0.0014, 0.002, 0.08])
    assert one.p_adjusted == pytest.approx(2 / 64)
    assert one.ci_low is not None and one.ci_low < 0
    assert one.p_these is not None and one.p_these < 0.05
    assert one.verdict == "NOT ENOUGH EVIDENCE"


def test_from_eight_datasets_on_there_is_a_bayesian_answer() -> None:
    one = across([0.010, 0.012, 0.011, 0.014, 0.02, 0.008, 0.009, 0.013])
    assert one.bayes is not None and one.bayes[2] > 0.95
    assert "P(better) " in one.reason


def test_holm_runs_over_the_variants_and_may_be_out_of_reach() -> None:
    gains = [0.010, 0.012, 0.011, 0.014, 0.02, 0.008]
    one, two = findings({"sire": {"cnn": gains}, "se": {"cnn": gains}}).variants
    assert one.p_adjusted == two.p_adjusted == pytest.approx(2 * 2 / 64)
    assert one.verdict == "NOT ENOUGH EVIDENCE"
    assert "6 datasets cannot reach HELPS or HURTS over 2 variants, 7 can" in one.reason


def test_mixed_goes_before_everything() -> None:
    one = across([0.02, 0.02, 0.02, -0.02, 0.02, 0.02, 0.02])
    assert (one.verdict, one.helps, one.hurts) == ("MIXED", 6, 1)
    assert one.reason.startswith("helps on 6 of 7 datasets, hurts on 1; it depends on where; mean +1.43 pp")
    assert across([0.02, -0.02]).verdict == "MIXED"


def test_equivalent_across_datasets() -> None:
    one = across([0.0001, -0.0001, 0.0002, -0.0002])
    assert one.verdict == "EQUIVALENT" and one.equivalence_p is not None and one.equivalence_p < 0.05
    assert "within ±0.5 pp on datasets like these (equivalence test, TOST, p" in one.reason
    assert across([0.0001, -0.0001, 0.0002]).verdict == "NOT ENOUGH EVIDENCE"  # from 4 datasets on
    assert across([0.0001, -0.0001, 0.0002, -0.0002], rope=0.0001).verdict == "NOT ENOUGH EVIDENCE"


def test_from_six_datasets_on_equivalence_is_always_tested() -> None:
    gains = [0.004, -0.004, 0.003, -0.003, 0.0002, -0.0002, 0.004, -0.004, 0.003, -0.003]
    assert 2 * np.std(gains, ddof=1) > 0.005
    many, few = across(gains, seeds=1), across(gains[:5], seeds=1)
    assert many.verdict == "EQUIVALENT" and many.equivalence_p is not None and many.equivalence_p < 0.05
    assert across(gains[:6], seeds=1).equivalence_p is not None
    assert few.equivalence_p is None and few.verdict == "NOT ENOUGH EVIDENCE"
    assert "; datasets scatter too widely (sd 0.35 pp) for an equivalence test below 6 datasets" in few.reason
    assert "scatter" not in many.reason + across([0.04, 0.001, 0.0, 0.002]).reason


def test_identical_on_every_dataset() -> None:
    errors = {(f"d{index}", "cnn"): {"baseline": BASE, "same": BASE} for index in range(3)}
    (one,) = StudyResults(testing.make_studies(errors)).variants
    assert (one.verdict, one.mean_difference, one.p_like_these) == ("EQUIVALENT", 0.0, 1.0)
    assert "identical on every dataset (3)" in one.reason


def test_the_same_difference_on_every_dataset_has_no_t() -> None:
    few, many = across([0.02] * 4), across([0.02] * 6)
    assert (few.verdict, few.ci_low, few.test) == ("NOT ENOUGH EVIDENCE", None, "sign-flip")
    assert (many.verdict, many.ci_low) == ("HELPS", None)


def test_networks_that_learned_nothing_are_named_across_datasets() -> None:
    blank = [0.9, 0.899, 0.901]
    errors = {(f"d{index}", "cnn"): {"baseline": blank, "same": blank} for index in range(3)}
    (one,) = StudyResults(testing.make_studies(errors)).variants
    assert one.warnings == ("networks learned nothing on d0 / cnn, d1 / cnn, d2 / cnn",)
    assert "says nothing of the variant" in one.reason


def test_a_dataset_without_a_backbone_is_left_out_and_named() -> None:
    gains = [0.010, 0.012, 0.011, 0.014]
    found = findings({"sire": {"cnn": gains, "vgg": [*gains[:3], None]}}).variants
    assert [(one.backbone, len(one.datasets)) for one in found] == [("", 3), ("cnn", 4), ("vgg", 3)]
    overall = found[0]
    assert overall.datasets == ("d0", "d1", "d2")
    assert len(overall.left_out) == 1
    assert overall.left_out[0].startswith("d3 / vgg: 1 of 5 seeds diverged (0)")
    assert "helps in 7 of 8 cells, not comparable in 1" in overall.reason
    assert "left out: d3 / vgg" in overall.reason
    assert overall.mean_difference == pytest.approx(0.011)


def test_a_backbone_that_is_comparable_nowhere_is_named() -> None:
    found = findings({"sire": {"cnn": [0.010, 0.012, 0.011], "vgg": [None] * 3}}).variants
    assert found[0].datasets == ("d0", "d1", "d2")
    assert found[0].left_out[0].startswith("vgg: comparable on no dataset (1 of 5 seeds diverged (0)")
    assert found[2].verdict == "NOT COMPARABLE" and "1 of 5 seeds diverged (0)" in found[2].reason


def test_datasets_where_a_variant_has_no_cell_are_named() -> None:
    found = findings({"sire": {"cnn": [0.01, 0.011, 0.012]}, "se": {"cnn": [0.01, 0.011, 0.012, 0.01]}}).variants
    assert found[0].datasets == ("d0", "d1", "d2")
    assert found[0].left_out == ("d3 / cnn: the variant has no cell there",)
    assert found[1].left_out == ()


def test_backbones_are_averaged_before_the_seeds_are() -> None:
    """Two backbones with the same differences are no more evidence on these datasets than one."""
    gains = [0.004, 0.001, 0.002]
    one = findings({"sire": {"cnn": gains}}).variants[0]
    two = findings({"sire": {"cnn": gains, "vgg": gains}}).variants[0]
    assert two.p_these == pytest.approx(one.p_these)
    assert two.p_like_these == pytest.approx(one.p_like_these)


def test_ranking_against_the_baseline() -> None:
    gains = [0.010, 0.012, 0.011, 0.014, 0.02, 0.008]
    found = findings({"sire": {"cnn": gains}, "bad": {"cnn": [-gain for gain in gains]}})
    (one,) = found.rankings
    assert one.labels == ("sire", "baseline", "bad")
    assert one.average_ranks == (1.0, 2.0, 3.0)
    assert one.p_values[1] is None and one.p_values[0] == pytest.approx(one.p_values[2])
    assert one.p_values[0] == pytest.approx(2 * 2 * stats.norm.sf(1 / math.sqrt(3 * 4 / 36)))
    assert one.left_out == ()
    assert findings({"sire": {"cnn": gains}}).rankings == []  # two methods: Wilcoxon says it all
    assert findings({"sire": {"cnn": gains[:5]}, "bad": {"cnn": gains[:5]}}).rankings == []


def test_ranking_takes_complete_datasets_and_names_the_rest() -> None:
    gains = [0.010, 0.012, 0.011, 0.014, 0.02, 0.008, 0.01]
    lost: list[float | None] = [None, None, *gains[2:]]
    variants: dict[str, Gains] = {
        "sire": gains,
        "bad": [-gain for gain in gains],
        "lost": lost,
        "same": [*gains[:6], None],
    }
    (one,) = findings({name: {"cnn": own} for name, own in variants.items()}).rankings
    assert set(one.labels) == {"baseline", "sire", "bad", "same"} and len(one.datasets) == 6
    assert one.left_out == ("lost: not comparable on d0, d1", "d6: not comparable there: same")


def ranked(*variants: Gains) -> StudyResults:
    return findings({f"v{number}": {"cnn": gains} for number, gains in enumerate(variants)})


def test_a_variant_goes_before_the_datasets_fall_below_six() -> None:
    """7 datasets and one variant that diverged on two; 6 and one gap: the others are complete, so they are ranked."""
    gains = [0.010, 0.012, 0.011, 0.014, 0.02, 0.008, 0.01]
    worse = [-gain for gain in gains]
    (seven,) = ranked([None, None, *gains[2:]], gains, worse).rankings
    assert set(seven.labels) == {"baseline", "v1", "v2"} and len(seven.datasets) == 7
    assert seven.left_out == ("v0: not comparable on d0, d1",)
    (six,) = ranked([None, *gains[1:6]], gains[:6], worse[:6]).rankings
    assert set(six.labels) == {"baseline", "v1", "v2"} and len(six.datasets) == 6
    (eight,) = ranked([None, *gains], [*gains, None], [*worse, -0.01], [*worse, -0.02]).rankings
    assert len(eight.labels) == 5 and eight.datasets == tuple(f"d{index}" for index in range(1, 7))
    assert eight.left_out == ("d0: not comparable there: v0", "d7: not comparable there: v1")


def test_a_dataset_on_which_nothing_is_comparable_goes_first() -> None:
    gains = [0.010, 0.012, 0.011, 0.014, 0.02, 0.008]
    (one,) = ranked([None, *gains], [None, *gains], [None, *gains]).rankings
    assert len(one.labels) == 4 and len(one.datasets) == 6
    assert one.left_out == ("d0: not comparable there: v0, v1, v2",)


def test_no_ranking_is_left_and_that_is_said() -> None:
    gains = [0.010, 0.012, 0.011, 0.014, 0.02, 0.008]
    found = ranked([None, *gains[1:]], gains)
    assert found.rankings == []
    (told,) = found.unranked_sentences
    assert told.startswith("No ranking with Friedman's test on cnn: ") and "v0" in told
    assert "and it takes 6 with 2 (left out: " in told
    (table,) = overall.build_overall(found)
    assert told in table.notes
    assert ranked(gains[:5], gains[:5]).unranked_sentences == [], "none was planned"
    assert ranked(gains).unranked_sentences == [] and ranked(gains, gains).unranked_sentences == []


def test_what_is_left_is_complete_and_nothing_complete_is_left_out() -> None:
    generator = np.random.default_rng(8)
    for _ in range(200):
        names, datasets = [f"v{index}" for index in range(5)], [f"d{index}" for index in range(9)]
        gaps = {(name, dataset) for name in names for dataset in datasets if generator.random() < 0.15}

        def known(name: str, dataset: str, gaps: set[tuple[str, str]] = gaps) -> bool:
            return (name, dataset) not in gaps

        kept, places = without_gaps(names, datasets, known)
        assert kept and places and all(known(name, dataset) for name in kept for dataset in places)
        assert all(any(not known(name, one) for one in places) for name in names if name not in kept)
        assert all(any(not known(one, dataset) for one in kept) for dataset in datasets if dataset not in places)
