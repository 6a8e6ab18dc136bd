"""One verdict per variant, across datasets: the unit is the dataset's mean difference, never a (dataset, seed) pair.

The protocol is in docs/statistics.md (Demsar 2006; Benavoli et al. 2017).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.records.model import Group, Records
from analysis.stats import across_datasets, paired
from analysis.stats.paired import Differences
from analysis.verdicts import variant_reasons
from analysis.verdicts.model import Ruling, TestSettings, VariantVerdict, Verdict
from analysis.verdicts.variant_reasons import BY_RANKS, LEAST_DATASETS
from suite.core.specs import CellId

WITH_BAYES = 8


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """A variant's cells within one scope: `values` is datasets by mean difference, `strata` what `on_these` takes."""

    variant: str
    settings: str
    backbone: str
    cells: tuple[Verdict, ...]  # all of them, comparable or not
    used: tuple[Verdict, ...]
    values: dict[str, float]
    left_out: tuple[str, ...]
    in_family: bool

    @property
    def differences(self) -> Differences:
        return np.round(list(self.values.values()), 12)

    @property
    def strata(self) -> list[tuple[float, Differences]]:
        """One per dataset, its backbones averaged seed by seed, since they share data order and test images.

        Where they have unequal seeds, one per cell.
        """
        strata = []
        for dataset in self.values:
            series = [dict(one.differences) for one in self.used if one.dataset == dataset]
            if len({tuple(one) for one in series}) == 1:
                series = [{seed: sum(one[seed] for one in series) / len(series) for seed in series[0]}]
            weight = 1 / (len(self.values) * len(series))
            strata += [(weight, np.round(list(one.values()), 12)) for one in series]
        return strata


def judge_variants(records: Records, arranged: Sequence[Group], verdicts: Sequence[Verdict]) -> list[VariantVerdict]:
    """One per variant with its settings in the order of the plan, per backbone too where there are several.

    Holm's family of the former is the variants of the study; the latter are a family of their own.
    """
    names = list(dict.fromkeys((one.variant, one.settings) for one in verdicts))
    backbones = list(dict.fromkeys(group.backbone for group in arranged))
    datasets = list(dict.fromkeys(group.dataset for group in arranged))
    counted = {cell.cell_id for group in arranged for cell in group.cells if cell.in_family}
    overall, single = [], []
    for name in names:
        own = [one for one in verdicts if (one.variant, one.settings) == name]
        overall.append(_collect_comparison(name, "", own, datasets, counted))
        for backbone in backbones if len(backbones) > 1 else ():
            there = [one for one in own if one.backbone == backbone]
            if there:
                single.append(_collect_comparison(name, backbone, there, datasets, counted))
    return _judge_family(records, overall) + _judge_family(records, single)


def _collect_comparison(
    name: tuple[str, str],
    backbone: str,
    cells: Sequence[Verdict],
    datasets: Sequence[str],
    counted: set[CellId],
) -> _Compared:
    """What can be compared: the datasets on which the variant has every backbone that it has on any."""
    good = [one for one in cells if one.mean_difference is not None]
    wanted = list(dict.fromkeys(one.backbone for one in good))
    values: dict[str, float] = {}
    left_out = []
    for lost in dict.fromkeys(one.backbone for one in cells if one.backbone not in wanted):
        first = next(one.reason for one in cells if one.backbone == lost)
        left_out.append(f"{lost}: comparable on no dataset ({first})")
    for dataset in datasets:
        found = {one.backbone: one.mean_difference for one in good if one.dataset == dataset}
        missing = [lacking for lacking in wanted if lacking not in found]
        if wanted and not missing:
            values[dataset] = float(np.mean([value for value in found.values() if value is not None]))
        for lacking in missing:
            why = [one.reason for one in cells if (one.dataset, one.backbone) == (dataset, lacking)]
            left_out.append(f"{dataset} / {lacking}: {why[0] if why else 'the variant has no cell there'}")
    return _Compared(
        variant=name[0],
        settings=name[1],
        backbone=backbone,
        cells=tuple(cells),
        used=tuple(one for one in good if one.dataset in values),
        values=values,
        left_out=tuple(left_out),
        in_family=any(one.cell_id in counted for one in cells),
    )


def _judge_family(records: Records, compared: Sequence[_Compared]) -> list[VariantVerdict]:
    p_values = [_like_these(one.differences) for one in compared]
    family = [index for index, one in enumerate(compared) if one.in_family and any(p is not None for p in p_values)]
    corrected = paired.adjust_holm([1.0 if (p := p_values[index]) is None else p for index in family])
    adjusted = dict(zip(family, corrected, strict=True))
    terms = TestSettings.of(records, max(1, len(family)))
    return [
        _judge_one(one, p, adjusted.get(index, 1.0), terms)
        for index, (one, p) in enumerate(zip(compared, p_values, strict=True))
    ]


def _like_these(differences: Differences) -> float | None:
    """Unadjusted p of the test that decides at this number of datasets; None: there is none."""
    if len(differences) < LEAST_DATASETS:
        return None
    if paired.all_zero(differences):
        return 1.0
    if len(differences) >= BY_RANKS:
        return across_datasets.wilcoxon(differences)
    if paired.is_constant(differences):
        return paired.sign_flip(differences)
    return paired.run_paired_t(differences).p_value


def _judge_one(one: _Compared, p: float | None, p_adjusted: float, terms: TestSettings) -> VariantVerdict:
    helps, hurts = (sum(cell.verdict == ruling for cell in one.cells) for ruling in ("HELPS", "HURTS"))
    facts = VariantVerdict(
        variant=one.variant,
        settings=one.settings,
        backbone=one.backbone,
        datasets=tuple(one.values),
        differences=tuple(one.differences.tolist()),
        left_out=one.left_out,
        mean_difference=float(one.differences.mean()) if one.values else None,
        helps=helps,
        hurts=hurts,
        warnings=variant_reasons.list_cautions(one.cells),
        verdict="NOT ENOUGH EVIDENCE",
        reason="",
    )
    if p is not None:
        facts = _add_measurements(facts, one, p, p_adjusted, terms)
    verdict = _apply_rule(facts, one, terms)
    return dataclasses.replace(
        facts, verdict=verdict, reason=variant_reasons.write_reason(facts, verdict, one.cells, terms)
    )


def _add_measurements(
    facts: VariantVerdict, one: _Compared, p: float, p_adjusted: float, terms: TestSettings
) -> VariantVerdict:
    differences = one.differences
    many = len(differences)
    t_test = None if paired.is_constant(differences) else paired.run_paired_t(differences, terms.alpha)
    tost = None
    if t_test and many >= paired.equivalence_from(differences, terms.rope, BY_RANKS):
        tost = paired.test_equivalence(differences, terms.rope)
    flat = float(differences[0]) if paired.all_zero(differences) else None
    by_ranks = many >= BY_RANKS
    test = "Wilcoxon signed-rank" if by_ranks else "t" if t_test else "sign-flip"
    return dataclasses.replace(
        facts,
        ci_low=t_test.low if t_test else flat,
        ci_high=t_test.high if t_test else flat,
        p_these=across_datasets.on_these(one.strata),
        p_like_these=p,
        p_adjusted=p_adjusted,
        sign_flip_p=paired.sign_flip(differences) if by_ranks else None,
        equivalence_p=tost,
        smallest_effect=paired.smallest_effect(differences, terms.alpha / terms.family) if t_test else None,
        test="identity" if paired.all_zero(differences) else test,
        bayes=across_datasets.compute_bayes(differences, terms.rope) if many >= WITH_BAYES else None,
    )


def _apply_rule(facts: VariantVerdict, one: _Compared, terms: TestSettings) -> Ruling:
    """MIXED before anything else; HELPS and HURTS before EQUIVALENT, as for cells.

    What holds for datasets like these must hold on these: the other p has to agree, unadjusted, where there is one.
    """
    if facts.helps and facts.hurts:
        return "MIXED"
    if not facts.datasets:
        return "NOT COMPARABLE"
    if facts.p_adjusted is None:
        return "SINGLE RUN" if all(cell.verdict == "SINGLE RUN" for cell in one.used) else "NOT ENOUGH EVIDENCE"
    low, high = facts.ci_low, facts.ci_high
    excluded = low is None or high is None or not low <= 0 <= high
    agrees = facts.p_these is None or facts.p_these < terms.alpha * terms.looks
    if facts.p_adjusted < terms.alpha and excluded and agrees:
        return "HELPS" if (facts.mean_difference or 0.0) > 0 else "HURTS"
    same = facts.test == "identity" or (facts.equivalence_p is not None and facts.equivalence_p < terms.alpha)
    return "EQUIVALENT" if same else "NOT ENOUGH EVIDENCE"
