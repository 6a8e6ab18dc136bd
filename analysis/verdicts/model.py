"""What a verdict is, on a cell and on a variant, and what the study fixed before any was reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from analysis.records.model import Records
from suite.core.specs import CellId, format_label

Ruling = Literal["HELPS", "HURTS", "MIXED", "EQUIVALENT", "NOT ENOUGH EVIDENCE", "SINGLE RUN", "NOT COMPARABLE"]
RULINGS: tuple[Ruling, ...] = get_args(Ruling)  # MIXED: of a variant, never of a cell


def rule_by_sign(mean_difference: float | None) -> Ruling:
    """Of a difference that is significant; positive means that the variant is better."""
    return "HELPS" if (mean_difference or 0.0) > 0 else "HURTS"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one cell. Differences are fractions, positive when the variant is better; None: not known."""

    dataset: str
    backbone: str
    variant: str
    settings: str
    seeds: int  # pairs compared
    mean_difference: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    test: str = ""
    verdict: Ruling
    reason: str
    seeds_needed: int | None = None  # in all, to see the ROPE with power 0.8
    smallest_effect: float | None = None  # what this many seeds see with power 0.8
    equivalence_p: float | None = None
    wins: int | None = None
    bootstrap: tuple[float, float] | None = None  # from 10 seeds on
    probability_better: tuple[float, float, float] | None = None  # value, low, high; from 10 seeds on
    differences: tuple[tuple[int, float], ...] = ()  # (seed, d) for figures
    seed_correlation: float | None = None  # of baseline's and variant's errors over the seeds: what pairing gains
    warnings: tuple[str, ...] = ()  # what a reader must know of the pair, such as networks that learned nothing
    too_small: bool = False  # HELPS or HURTS, yet the whole interval lies within the ROPE
    learned: bool = True  # False: baseline or variant is no better than always answering the commonest class

    @property
    def cell_id(self) -> CellId:
        return CellId(self.dataset, self.backbone, self.variant, self.settings)

    def list_differences(self) -> NDArray[np.float64]:
        """In the order of the seeds, for the tests."""
        return np.array([difference for _, difference in self.differences])

    @property
    def label(self) -> str:
        return format_label(self.variant, self.settings)


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
        sign_flip_p: of the exact sign-flip test on the mean, beside Wilcoxon's from 6 datasets on; it decides nothing.
        equivalence_p: TOST over the datasets: from 6 on, and from 4 on where the ROPE is at least twice their spread.
        smallest_effect: the mean difference that so many datasets see with power 0.8.
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
    sign_flip_p: float | None = None
    equivalence_p: float | None = None
    smallest_effect: float | None = None
    verdict: Ruling
    reason: str
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return format_label(self.variant, self.settings)


@dataclass(frozen=True)
class TestSettings:
    """What the study fixed before the run, and the size of its family. `alpha` is per look, `rope` a fraction."""

    __test__ = False  # no class of tests, whatever its name tells pytest

    alpha: float
    rope: float
    family: int
    looks: int = 1

    @classmethod
    def of(cls, records: Records, family: int) -> TestSettings:
        return cls(records.alpha, records.rope, family, records.study.looks)
