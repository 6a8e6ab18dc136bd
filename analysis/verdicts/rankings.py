"""Friedman's test over the datasets and what follows it: average ranks and the critical difference (Demsar 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.formatting import format_plural
from analysis.records.model import Group, Records
from analysis.stats import across_datasets
from analysis.stats.complete_subset import LEAST_DATASETS, LEAST_METHODS, without_gaps
from analysis.verdicts.model import Verdict
from suite.core.specs import BASELINE


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Friedman's test over the datasets, for the cells of one backbone that every dataset has.

    Attributes:
        labels, average_ranks: the variants, baseline included, best rank (1) first.
        statistic, iman_davenport, p_value: of the hypothesis that all rank alike; see `across_datasets.Ranks`.
        p_values: against the baseline as control, Holm-adjusted (Demsar 2006), in the order of `labels`; the
            baseline's own is None.
        critical_difference: Nemenyi's, for all pairs, at `alpha`.
        left_out: datasets and variants that are not in it, as `name: reason`.
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
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Comparable:
    """What can be ranked on one backbone: the baseline and the variants on the datasets that have them all."""

    backbone: str
    labels: tuple[str, ...]  # the baseline first
    datasets: tuple[str, ...]
    errors: tuple[tuple[float, ...], ...]  # datasets x labels, less the baseline's
    left_out: tuple[str, ...]

    @property
    def enough(self) -> bool:
        return len(self.datasets) >= LEAST_DATASETS and len(self.labels) >= LEAST_METHODS


def rank_variants(records: Records, arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[Ranking]:
    """One per backbone with 6 datasets or more on which the baseline and two variants or more are all comparable."""
    return [_rank_backbone(one, records.alpha) for one in _list_comparable(arranged, verdicts) if one.enough]


def list_unranked(arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[str]:
    """Why a backbone has no ranking, a sentence each: of those that were planned with enough for one."""
    told = []
    for one in _list_comparable(arranged, verdicts):
        own = [verdict for verdict in verdicts if verdict.backbone == one.backbone]
        planned = len({verdict.dataset for verdict in own}), 1 + len({verdict.label for verdict in own})
        if not one.enough and planned[0] >= LEAST_DATASETS and planned[1] >= LEAST_METHODS:
            variants = format_plural(max(0, len(one.labels) - 1), "variant")
            told.append(
                f"No ranking with Friedman's test on {one.backbone}: {format_plural(len(one.datasets), 'dataset')} "
                f"with {variants} are left, and it takes {LEAST_DATASETS} with {LEAST_METHODS - 1} (left out: "
                f"{'; '.join(one.left_out)})."
            )
    return told


def _rank_backbone(one: _Comparable, alpha: float) -> Ranking:
    """Ranks go by the paired difference, the baseline's being 0: within a dataset that is the order of the errors."""
    found = across_datasets.run_friedman(np.array(one.errors), alpha)
    order = np.argsort(found.average, kind="stable").tolist()
    p_values = [None, *found.against_control]
    return Ranking(
        backbone=one.backbone,
        datasets=one.datasets,
        labels=tuple(one.labels[index] for index in order),
        average_ranks=tuple(found.average[index] for index in order),
        statistic=found.statistic,
        iman_davenport=found.iman_davenport,
        p_value=found.p_value,
        p_values=tuple(p_values[index] for index in order),
        critical_difference=found.critical_difference,
        alpha=alpha,
        left_out=one.left_out,
    )


def _list_comparable(arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[_Comparable]:
    backbones = dict.fromkeys(group.backbone for group in arranged)
    return [
        _collect_backbone(backbone, [one for one in verdicts if one.backbone == backbone]) for backbone in backbones
    ]


def _collect_backbone(backbone: str, verdicts: Sequence[Verdict]) -> _Comparable:
    found = {(one.label, one.dataset): one.mean_difference for one in verdicts if one.mean_difference is not None}
    datasets = list(dict.fromkeys(one.dataset for one in verdicts))
    found |= {(BASELINE, dataset): 0.0 for _, dataset in found}
    names = list(dict.fromkeys([BASELINE, *(one.label for one in verdicts)]))
    labels, places = without_gaps(names, datasets, lambda name, dataset: (name, dataset) in found)
    left_out = []
    for name in names:
        if name not in labels:
            lacking = [dataset for dataset in places if (name, dataset) not in found]
            left_out.append(f"{name}: not comparable on {', '.join(lacking) or 'any dataset'}")
    for dataset in datasets:
        if dataset not in places:
            absent = [name for name in labels if name != BASELINE and (name, dataset) not in found]
            left_out.append(f"{dataset}: not comparable there: {', '.join(absent)}")
    errors = tuple(tuple(-found[name, dataset] for name in labels) for dataset in places)
    return _Comparable(backbone, tuple(labels), tuple(places), errors, tuple(left_out))
