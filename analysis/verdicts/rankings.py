"""Friedman's test over the datasets and what follows it: average ranks and the critical difference (Demsar 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

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
    labels: list[str]  # the baseline first
    datasets: list[str]
    errors: list[list[float]]  # datasets x labels, less the baseline's
    left_out: list[str]

    @property
    def enough(self) -> bool:
        return len(self.datasets) >= LEAST_DATASETS and len(self.labels) >= LEAST_METHODS


def rank_variants(records: Records, arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[Ranking]:
    """One per backbone with 6 datasets or more on which the baseline and two variants or more are all comparable."""
    return [_rank_backbone(scope, records.alpha) for scope in _list_comparable(arranged, verdicts) if scope.enough]


def list_unranked(arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[str]:
    """Why a backbone has no ranking, a sentence each: of those that were planned with enough for one."""
    sentences = []
    for scope in _list_comparable(arranged, verdicts):
        if not scope.enough:
            variants = format_plural(max(0, len(scope.labels) - 1), "variant")
            sentences.append(
                f"No ranking with Friedman's test on {scope.backbone}: {format_plural(len(scope.datasets), 'dataset')} "
                f"with {variants} are left, and it takes {LEAST_DATASETS} with {LEAST_METHODS - 1} (left out: "
                f"{'; '.join(scope.left_out)})."
            )
    return sentences


def _rank_backbone(scope: _Comparable, alpha: float) -> Ranking:
    """Ranks go by the paired difference, the baseline's being 0: within a dataset that is the order of the errors."""
    ranks = across_datasets.run_friedman(np.array(scope.errors), alpha)
    rows = zip(ranks.average, scope.labels, (None, *ranks.against_control), strict=True)
    average, labels, p_values = zip(*sorted(rows, key=itemgetter(0)), strict=True)
    return Ranking(
        backbone=scope.backbone,
        datasets=tuple(scope.datasets),
        labels=labels,
        average_ranks=average,
        statistic=ranks.statistic,
        iman_davenport=ranks.iman_davenport,
        p_value=ranks.p_value,
        p_values=p_values,
        critical_difference=ranks.critical_difference,
        alpha=alpha,
        left_out=tuple(scope.left_out),
    )


def _list_comparable(arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[_Comparable]:
    """Of every backbone that was planned with enough datasets and variants for a ranking."""
    comparable = []
    for backbone in dict.fromkeys(group.backbone for group in arranged):
        cells = [verdict for verdict in verdicts if verdict.backbone == backbone]
        names = [BASELINE, *dict.fromkeys(cell.label for cell in cells)]
        datasets = list(dict.fromkeys(cell.dataset for cell in cells))
        if len(datasets) >= LEAST_DATASETS and len(names) >= LEAST_METHODS:
            comparable.append(_collect_backbone(backbone, names, datasets, cells))
    return comparable


def _collect_backbone(
    backbone: str, names: Sequence[str], datasets: Sequence[str], cells: Sequence[Verdict]
) -> _Comparable:
    differences = {}
    for cell in cells:
        if cell.mean_difference is not None:
            differences[cell.label, cell.dataset] = cell.mean_difference
            differences[BASELINE, cell.dataset] = 0.0
    labels, places = without_gaps(names, datasets, lambda name, dataset: (name, dataset) in differences)
    left_out, errors = [], []
    for name in names:
        if name not in labels:
            missing = [dataset for dataset in places if (name, dataset) not in differences]
            left_out.append(f"{name}: not comparable on {', '.join(missing) or 'any dataset'}")
    for dataset in datasets:
        if dataset in places:
            errors.append([-differences[name, dataset] for name in labels])
        else:
            missing = [name for name in labels if name != BASELINE and (name, dataset) not in differences]
            left_out.append(f"{dataset}: not comparable there: {', '.join(missing)}")
    return _Comparable(backbone, labels, places, errors, left_out)
