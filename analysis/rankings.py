"""Friedman's test over the datasets and what follows it: average ranks and the critical difference (Demsar 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis import dataset_tests
from analysis.select import Group, Records
from analysis.verdicts import Verdict
from suite.specs import BASELINE

LEAST_DATASETS = 6
LEAST_METHODS = 3  # the baseline and two variants; with one, Wilcoxon's test says it all


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Friedman's test over the datasets, for the cells of one backbone that every dataset has.

    Attributes:
        labels, average_ranks: the variants, baseline included, best rank (1) first.
        statistic, iman_davenport, p_value: of the hypothesis that all rank alike; see `dataset_tests.Ranks`.
        p_values: against the baseline as control, Holm-adjusted (Demsar 2006), in the order of `labels`; the
            baseline's own is None.
        critical_difference: Nemenyi's, for all pairs, at `alpha`.
        differs: matrix of Holm-adjusted p values of all pairs, for the critical-difference diagram.
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
    differs: tuple[tuple[float, ...], ...]
    left_out: tuple[str, ...] = ()


def rankings(records: Records, arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[Ranking]:
    """One per backbone with 6 datasets or more on which the baseline and two variants or more are all comparable."""
    backbones = dict.fromkeys(group.backbone for group in arranged)
    ranked = (_rank([one for one in verdicts if one.backbone == backbone], records.alpha) for backbone in backbones)
    return [one for one in ranked if one is not None]


def _rank(verdicts: Sequence[Verdict], alpha: float) -> Ranking | None:
    """Ranks go by the paired difference, the baseline's being 0: within a dataset that is the order of the errors."""
    known = {(one.dataset, one.label): one.mean_difference for one in verdicts if one.mean_difference is not None}
    datasets = list(dict.fromkeys(one.dataset for one in verdicts))
    variants = list(dict.fromkeys(one.label for one in verdicts))
    left_out = _complete(datasets, variants, known)
    if len(datasets) < LEAST_DATASETS or len(variants) + 1 < LEAST_METHODS:
        return None
    errors = [[0.0, *(-known[dataset, variant] for variant in variants)] for dataset in datasets]
    found = dataset_tests.friedman(np.array(errors), alpha)
    order = np.argsort(found.average, kind="stable").tolist()
    labels, p_values = [BASELINE, *variants], [None, *found.against_control]
    return Ranking(
        backbone=verdicts[0].backbone,
        datasets=tuple(datasets),
        labels=tuple(labels[index] for index in order),
        average_ranks=tuple(found.average[index] for index in order),
        statistic=found.statistic,
        iman_davenport=found.iman_davenport,
        p_value=found.p_value,
        p_values=tuple(p_values[index] for index in order),
        critical_difference=found.critical_difference,
        alpha=alpha,
        differs=tuple(tuple(found.pairwise[row][column] for column in order) for row in order),
        left_out=tuple(left_out),
    )


def _complete(datasets: list[str], variants: list[str], known: dict[tuple[str, str], float]) -> list[str]:
    """Take out datasets and variants, always the one that lacks most, until every dataset has every variant."""
    left_out = []
    while datasets and variants:
        gaps = [(sum((one, name) not in known for one in datasets) / len(datasets), name) for name in variants]
        holes = [(sum((name, one) not in known for one in variants) / len(variants), name) for name in datasets]
        worst, hole = max(gaps, key=lambda gap: gap[0]), max(holes, key=lambda gap: gap[0])
        if worst[0] == 0.0:
            break
        if worst[0] >= hole[0]:
            left_out.append(
                f"{worst[1]}: not comparable on {round(worst[0] * len(datasets))} of {len(datasets)} datasets"
            )
            variants.remove(worst[1])
        else:
            left_out.append(f"{hole[1]}: {round(hole[0] * len(variants))} of {len(variants)} variants not comparable")
            datasets.remove(hole[1])
    return left_out
