"""One verdict per variant, across datasets: the unit is the dataset's mean difference, never a (dataset, seed) pair.

The protocol is in docs/statistics.md (Demsar 2006; Benavoli et al. 2017).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

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
        overall.append((_compare_datasets("", cells, datasets), cells))
        for backbone in backbones:
            cells_there = [cell for cell in cells if cell.backbone == backbone]
            if cells_there and len(backbones) > 1:
                single.append((_compare_datasets(backbone, cells_there, datasets), cells_there))
    return _judge_family(records, overall, counted) + _judge_family(records, single, counted)


def _compare_datasets(backbone: str, cells: Sequence[Verdict], datasets: Iterable[str]) -> VariantVerdict:
    """What is known before any test: the mean differences on the datasets that can be compared.

    Those are the datasets on which the variant has every backbone that it has on any.
    """
    by_place = {(cell.dataset, cell.backbone): cell for cell in cells}
    wanted = dict.fromkeys(cell.backbone for cell in cells if cell.mean_difference is not None)
    nowhere: dict[str, str] = {}
    for cell in cells:
        if cell.backbone not in wanted:
            nowhere.setdefault(cell.backbone, cell.reason)
    left_out = [f"{name}: comparable on no dataset ({reason})" for name, reason in nowhere.items()]
    means = {}
    for dataset in datasets:
        differences = []
        for name in wanted:
            cell_there = by_place.get((dataset, name))
            if cell_there is None:
                left_out.append(f"{dataset} / {name}: the variant has no cell there")
            elif cell_there.mean_difference is None:
                left_out.append(f"{dataset} / {name}: {cell_there.reason}")
            else:
                differences.append(cell_there.mean_difference)
        if differences and len(differences) == len(wanted):
            means[dataset] = np.mean(differences)
    rounded, counts = np.round(list(means.values()), 12), count_rulings(cells)
    return VariantVerdict(
        variant=cells[0].variant,
        settings=cells[0].settings,
        backbone=backbone,
        datasets=tuple(means),
        differences=tuple(rounded.tolist()),
        left_out=tuple(left_out),
        mean_difference=float(rounded.mean()) if means else None,
        helps=counts.get("HELPS", 0),
        hurts=counts.get("HURTS", 0),
        warnings=variant_reasons.list_cautions(cells),
        verdict="NOT ENOUGH EVIDENCE",
        reason="",
    )


def _judge_family(
    records: Records, compared: Sequence[tuple[VariantVerdict, Sequence[Verdict]]], counted: Collection[CellId]
) -> list[VariantVerdict]:
    """One outside the family has no comparable cell, hence no test."""
    p_values = {}
    for facts, cells in compared:
        if any(cell.cell_id in counted for cell in cells):
            p_values[facts] = _compute_p(np.array(facts.differences))
    adjusted = dict(zip(p_values, paired.adjust_holm(list(p_values.values())), strict=True))
    terms = TestSettings.of(records, max(1, len(p_values)))
    verdicts = []
    for facts, cells in compared:
        if len(facts.datasets) >= LEAST_DATASETS:
            p_these = across_datasets.on_these(_list_strata(facts.datasets, cells))
            facts = replace(facts, p_these=p_these, p_like_these=p_values[facts], p_adjusted=adjusted[facts])
            facts = _add_measurements(facts, np.array(facts.differences), terms)
        ruling = _apply_rule(facts, cells, terms)
        reason = variant_reasons.write_reason(facts, ruling, cells, terms)
        verdicts.append(replace(facts, verdict=ruling, reason=reason))
    return verdicts


def _list_strata(datasets: Sequence[str], cells: Sequence[Verdict]) -> list[tuple[float, Differences]]:
    """What `on_these` takes. One per dataset, its backbones averaged seed by seed, since they share data order and test
    images; where they have unequal seeds, one per cell.
    """
    strata = []
    for dataset in datasets:
        used = [cell for cell in cells if cell.dataset == dataset and cell.differences]
        series = [cell.list_differences() for cell in used]
        if len({tuple(dict(cell.differences)) for cell in used}) == 1:
            series = [np.sum(series, axis=0) / len(series)]
        for differences in series:
            strata.append((1 / (len(datasets) * len(series)), np.round(differences, 12)))
    return strata


def _compute_p(differences: Differences) -> float:
    """Unadjusted p of the test that decides at this number of datasets; 1 where there is none."""
    if len(differences) < LEAST_DATASETS:
        return 1.0
    if len(differences) >= BY_RANKS and not paired.all_zero(differences):
        return across_datasets.wilcoxon(differences)
    return paired.test_mean_difference(differences)


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
