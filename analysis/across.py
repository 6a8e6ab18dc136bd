"""One verdict per variant, across datasets: the unit is the dataset's mean difference, never a (dataset, seed) pair.

The protocol is in docs/statistics.md (Demsar 2006; Benavoli et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.select import Group, Records
from analysis.verdicts import Ruling, Verdict


@dataclass(frozen=True, kw_only=True)
class VariantVerdict:
    """The verdict on one variant across datasets. Differences are fractions, positive when the variant is better.

    Attributes:
        backbone: where it was grafted; empty: over all backbones of the study, each dataset's value their mean.
        datasets, differences: what was compared: each dataset and its mean difference.
        left_out: what was not, as `place: reason`.
        p_these: `on these datasets`: seeds are the chance, the datasets are given.
        p_like_these: `for datasets like these`: the datasets are a sample. It decides, Holm-adjusted over the variants.
        helps, hurts: how many of its cells have that verdict.
        bayes: P(worse, within the ROPE, better) of the Bayesian signed-rank test, from 8 datasets on.
    """

    variant: str
    settings: str
    backbone: str = ""
    datasets: tuple[str, ...] = ()
    differences: tuple[float, ...] = ()
    left_out: tuple[str, ...] = ()
    mean_difference: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_these: float | None = None
    p_like_these: float | None = None
    p_adjusted: float | None = None
    test: str = ""
    helps: int = 0
    hurts: int = 0
    bayes: tuple[float, float, float] | None = None
    verdict: Ruling
    reason: str

    @property
    def label(self) -> str:
        return f"{self.variant} ({self.settings})" if self.settings else self.variant


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Friedman's test over the datasets, for the cells of one backbone that every dataset has.

    Attributes:
        labels, average_ranks: the variants, baseline included, best rank (1) first.
        p_values: against the baseline as control, Holm-adjusted (Demsar 2006), in the order of `labels`; the
            baseline's own is None.
        critical_difference: Nemenyi's, for all pairs, at `alpha`.
        differs: matrix of Holm-adjusted p values of all pairs, for the critical-difference diagram.
    """

    backbone: str
    datasets: tuple[str, ...]
    labels: tuple[str, ...]
    average_ranks: tuple[float, ...]
    statistic: float
    iman_davenport: float
    p_value: float
    p_values: tuple[float | None, ...]
    critical_difference: float
    alpha: float
    differs: tuple[tuple[float, ...], ...]


def judge_variants(records: Records, arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[VariantVerdict]:
    """One per variant with its settings in the order of the plan, per backbone where there are several."""
    return []


def rankings(records: Records, arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[Ranking]:
    """One per backbone with enough comparable datasets; none below 6 (see docs/statistics.md)."""
    return []
