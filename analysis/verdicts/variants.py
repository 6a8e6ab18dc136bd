"""One verdict per variant, across datasets: the unit is the dataset's mean difference, never a (dataset, seed) pair.

The protocol is in docs/statistics.md (Demsar 2006; Benavoli et al. 2017).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.records.model import Group, Records
from analysis.stats import across_datasets, paired
from analysis.stats.paired import Differences
from analysis.verdicts import variant_reasons
from analysis.verdicts.cells import count_rulings
from analysis.verdicts.model import Ruling, TestSettings, VariantVerdict, Verdict, rule_by_sign
from analysis.verdicts.variant_reasons import BY_RANKS, LEAST_DATASETS
from suite.core.specs import CellId

WITH_BAYES = 8


@dataclass(frozen=True, eq=False)
class _Comparison:
    """A variant's cells on one backbone, or on all of them where that is empty; `values`: mean difference by dataset.

    `in_family`: it counts in Holm's correction; `cells`: all of them, comparable or not.
    """

    backbone: str
    cells: Sequence[Verdict]
    in_family: bool
    values: dict[str, float]
    left_out: tuple[str, ...]

    @property
    def differences(self) -> Differences:
        return np.round(list(self.values.values()), 12)

    def list_strata(self) -> list[tuple[float, Differences]]:
        """What `on_these` takes. One per dataset, its backbones averaged seed by seed, since they share data order and
        test images; where they have unequal seeds, one per cell.
        """
        strata = []
        for dataset in self.values:
            cells = [cell for cell in self.cells if cell.dataset == dataset and cell.differences]
            series = [cell.list_differences() for cell in cells]
            if len({tuple(dict(cell.differences)) for cell in cells}) == 1:
                series = [np.sum(series, axis=0) / len(series)]
            for differences in series:
                strata.append((1 / (len(self.values) * len(series)), np.round(differences, 12)))
        return strata


def judge_variants(records: Records, arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[VariantVerdict]:
    """One per variant with its settings in the order of the plan, per backbone too where there are several.

    Holm's family of the former is the variants of the study; the latter are a family of their own.
    """
    counted = {cell.cell_id for group in arranged for cell in group.cells if cell.in_family}
    datasets = dict.fromkeys(group.dataset for group in arranged)
    backbones = dict.fromkeys(group.backbone for group in arranged)
    variants: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        variants[verdict.variant, verdict.settings].append(verdict)
    overall, single = [], []
    for cells in variants.values():
        overall.append(_compare_datasets("", cells, datasets, counted))
        for backbone in backbones:
            cells_there = [cell for cell in cells if cell.backbone == backbone]
            if cells_there and len(backbones) > 1:
                single.append(_compare_datasets(backbone, cells_there, datasets, counted))
    return _judge_family(records, overall) + _judge_family(records, single)


def _compare_datasets(
    backbone: str, cells: Sequence[Verdict], datasets: Iterable[str], counted: Collection[CellId]
) -> _Comparison:
    """What can be compared: the datasets on which the variant has every backbone that it has on any."""
    by_place = {(cell.dataset, cell.backbone): cell for cell in cells}
    wanted = dict.fromkeys(cell.backbone for cell in cells if cell.mean_difference is not None)
    nowhere: dict[str, str] = {}
    for cell in cells:
        if cell.backbone not in wanted:
            nowhere.setdefault(cell.backbone, cell.reason)
    left_out = [f"{name}: comparable on no dataset ({reason})" for name, reason in nowhere.items()]
    values = {}
    for dataset in datasets:
        differences = []
        for name in wanted:
            found = by_place.get((dataset, name))
            if found is None:
                left_out.append(f"{dataset} / {name}: the variant has no cell there")
            elif found.mean_difference is None:
                left_out.append(f"{dataset} / {name}: {found.reason}")
            else:
                differences.append(found.mean_difference)
        if differences and len(differences) == len(wanted):
            values[dataset] = float(np.mean(differences))
    in_family = any(cell.cell_id in counted for cell in cells)
    return _Comparison(backbone, cells, in_family, values, tuple(left_out))


def _judge_family(records: Records, comparisons: Sequence[_Comparison]) -> list[VariantVerdict]:
    """One outside the family has no comparable cell, hence no test."""
    p_values = {one: _compute_p(one.differences) for one in comparisons if one.in_family}
    adjusted = dict(zip(p_values, paired.adjust_holm(list(p_values.values())), strict=True))
    terms = TestSettings.of(records, max(1, len(p_values)))
    return [_judge_variant(one, p_values.get(one, 1.0), adjusted.get(one, 1.0), terms) for one in comparisons]


def _compute_p(differences: Differences) -> float:
    """Unadjusted p of the test that decides at this number of datasets; 1 where there is none."""
    if len(differences) < LEAST_DATASETS:
        return 1.0
    if len(differences) >= BY_RANKS and not paired.all_zero(differences):
        return across_datasets.wilcoxon(differences)
    return paired.test_mean_difference(differences)


def _judge_variant(comparison: _Comparison, p: float, p_adjusted: float, terms: TestSettings) -> VariantVerdict:
    cells, differences = comparison.cells, comparison.differences
    counts = count_rulings(cells)
    facts = VariantVerdict(
        variant=cells[0].variant,
        settings=cells[0].settings,
        backbone=comparison.backbone,
        datasets=tuple(comparison.values),
        differences=tuple(differences.tolist()),
        left_out=comparison.left_out,
        helps=counts.get("HELPS", 0),
        hurts=counts.get("HURTS", 0),
        warnings=variant_reasons.list_cautions(cells),
        verdict="NOT ENOUGH EVIDENCE",
        reason="",
    )
    if len(differences):
        facts = replace(facts, mean_difference=float(differences.mean()))
    if len(differences) >= LEAST_DATASETS:
        strata = comparison.list_strata()
        facts = replace(facts, p_these=across_datasets.on_these(strata), p_like_these=p, p_adjusted=p_adjusted)
        facts = _add_measurements(facts, differences, terms)
    ruling = _apply_rule(facts, cells, terms)
    return replace(facts, verdict=ruling, reason=variant_reasons.write_reason(facts, ruling, cells, terms))


def _add_measurements(facts: VariantVerdict, differences: Differences, terms: TestSettings) -> VariantVerdict:
    count = len(differences)
    if not paired.is_constant(differences):
        t_test = paired.run_paired_t(differences, terms.alpha)
        effect = paired.smallest_effect(differences, terms.alpha / terms.family)
        facts = replace(facts, test="t", ci_low=t_test.low, ci_high=t_test.high, smallest_effect=effect)
        if count >= paired.equivalence_from(differences, terms.rope, BY_RANKS):
            facts = replace(facts, equivalence_p=paired.test_equivalence(differences, terms.rope))
    elif paired.all_zero(differences):
        facts = replace(facts, test="identity", ci_low=float(differences[0]), ci_high=float(differences[0]))
    else:
        facts = replace(facts, test="sign-flip")
    if count >= BY_RANKS:
        facts = replace(facts, sign_flip_p=paired.sign_flip(differences))
        if facts.test != "identity":
            facts = replace(facts, test="Wilcoxon signed-rank")
    if count >= WITH_BAYES:
        facts = replace(facts, bayes=across_datasets.compute_bayes(differences, terms.rope))
    return facts


def _apply_rule(facts: VariantVerdict, cells: Sequence[Verdict], terms: TestSettings) -> Ruling:
    """MIXED before anything else; HELPS and HURTS before EQUIVALENT, as for cells.

    What holds for datasets like these must hold on these: the other p has to agree, unadjusted, where there is one.
    """
    if facts.helps and facts.hurts:
        return "MIXED"
    if not facts.datasets:
        return "NOT COMPARABLE"
    if facts.p_adjusted is None:
        used = {cell.verdict for cell in cells if cell.dataset in facts.datasets and cell.differences}
        return "SINGLE RUN" if used == {"SINGLE RUN"} else "NOT ENOUGH EVIDENCE"
    low, high = facts.ci_low, facts.ci_high
    excluded = low is None or high is None or not low <= 0 <= high
    agrees = facts.p_these is None or facts.p_these < terms.alpha * terms.looks
    if facts.p_adjusted < terms.alpha and excluded and agrees:
        return rule_by_sign(facts.mean_difference)
    if facts.test == "identity" or (facts.equivalence_p is not None and facts.equivalence_p < terms.alpha):
        return "EQUIVALENT"
    return "NOT ENOUGH EVIDENCE"
