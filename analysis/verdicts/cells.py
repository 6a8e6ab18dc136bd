"""One verdict per cell, by the number of seeds; the protocol is in docs/statistics.md.

The unit is the paired difference d_s = error(baseline) - error(variant) of seed s: positive means that the variant is
better. The family of Holm's correction is every non-baseline cell of the study that its plan didn't refuse; one without
a p value (unfinished, diverged, not comparable) counts as p = 1, so what is missing makes nothing more significant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.formatting import format_plural
from analysis.records.arrange import group_cells
from analysis.records.model import Group, Records
from analysis.stats import paired
from analysis.stats.paired import BY_SIGN_FLIP, LEAST, WITH_EQUIVALENCE, WITH_SIGN_FLIP, Differences
from analysis.verdicts import cell_reasons
from analysis.verdicts.model import RULINGS, Ruling, TestSettings, Verdict
from analysis.verdicts.pairs import Pairs, pair_cells

if TYPE_CHECKING:
    pass


def judge_cells(records: Records, arranged: Sequence[Group] | None = None) -> list[Verdict]:
    """A verdict for every non-baseline cell of the study, in the order of the plan.

    Args:
        arranged: `arrange.group_cells(records)`, where the caller has it already.
    """
    compared = pair_cells(records, group_cells(records) if arranged is None else arranged)
    p_values = {index: _raw_p(one.differences) for index, one in enumerate(compared) if len(one.seeds) >= LEAST}
    family = [index for index, one in enumerate(compared) if one.cell.in_family]
    corrected = paired.adjust_holm([p_values.get(index, 1.0) for index in family])
    adjusted = dict(zip(family, corrected, strict=True))
    terms = TestSettings.of(records, len(family))
    return [
        _judge_pairs(one, p_values[index], adjusted[index], terms) if index in p_values else _make_untested_verdict(one)
        for index, one in enumerate(compared)
    ]


def _raw_p(differences: Differences) -> float:
    """Unadjusted p of the test that decides at this number of seeds."""
    if paired.all_zero(differences):
        return 1.0
    if len(differences) >= BY_SIGN_FLIP or paired.is_constant(differences):
        return paired.sign_flip(differences)
    return paired.run_paired_t(differences).p_value


def _make_plain_verdict(one: Pairs, verdict: Ruling, reason: str) -> Verdict:
    """A verdict with what is known before any test."""
    cell, known, taught = one.cell, len(one.seeds) > 0, _find_unlearned(one)
    return Verdict(
        dataset=cell.dataset,
        backbone=cell.backbone,
        variant=cell.variant,
        settings=cell.settings,
        seeds=len(one.seeds),
        mean_difference=float(one.differences.mean()) if known else None,
        wins=int((one.differences > 0).sum()) if known else None,
        differences=tuple(zip(one.seeds, map(float, one.differences), strict=True)),
        seed_correlation=paired.compute_correlation(one.errors, one.errors + one.differences) if known else None,
        warnings=tuple(text for text, _ in taught.values() if text),
        learned=not any(nothing for _, nothing in taught.values()),
        verdict=verdict,
        reason=reason,
    )


def _find_unlearned(one: Pairs) -> dict[str, tuple[str, bool]]:
    """By name of the two sides; see `cell_reasons.find_unlearned`."""
    sides = {one.name: one.baseline, one.cell.label: one.cell}
    return {name: cell_reasons.find_unlearned(cell, name) for name, cell in sides.items() if cell is not None}


def _make_untested_verdict(one: Pairs) -> Verdict:
    if one.problem:
        return _make_plain_verdict(one, "NOT COMPARABLE", one.problem)
    seeds = format_plural(len(one.seeds), "seed")
    return _make_plain_verdict(
        one, "SINGLE RUN", f"{seeds}: no test and no interval; a verdict takes {LEAST} seeds or more"
    )


def _judge_pairs(one: Pairs, p: float, p_adjusted: float, terms: TestSettings) -> Verdict:
    """The verdict on a cell with at least 3 pairs."""
    differences, nothing = (
        one.differences,
        [name for name, (_, all_of_it) in _find_unlearned(one).items() if all_of_it],
    )
    facts = dataclasses.replace(_make_plain_verdict(one, "NOT ENOUGH EVIDENCE", ""), p_value=p, p_adjusted=p_adjusted)
    impossible = paired.describe_unattainable(facts.seeds, terms.family, terms.alpha, terms.looks)
    if impossible:
        facts = dataclasses.replace(facts, warnings=(*facts.warnings, impossible))
    if paired.all_zero(differences):
        same = f"identical in every seed ({facts.seeds})"
        ruled = dataclasses.replace(facts, verdict="EQUIVALENT", reason=same, ci_low=0.0, ci_high=0.0, test="identity")
    elif paired.is_constant(differences):
        ruled = _without_spread(facts, terms)
    else:
        ruled = _apply_rule(_add_measurements(facts, differences, terms), differences, terms)
    if ruled.verdict == "EQUIVALENT" and nothing:
        return dataclasses.replace(ruled, reason=ruled.reason + cell_reasons.nothing_to_say(nothing))
    return ruled


def _without_spread(facts: Verdict, terms: TestSettings) -> Verdict:
    """The same non-zero difference in every seed: no spread for a t test, so the exact sign-flip test alone decides.

    A t statistic would be infinite here, and on a small test set such a run of equal differences comes by chance.
    """
    mean = facts.mean_difference or 0.0
    if facts.p_adjusted is None or facts.p_adjusted >= terms.alpha:
        if facts.seeds < WITH_SIGN_FLIP:  # exact tests say nothing there, so none is shown
            facts = dataclasses.replace(facts, p_value=None, p_adjusted=None)
        else:
            facts = dataclasses.replace(facts, test="sign-flip")
        return dataclasses.replace(facts, reason=cell_reasons.without_spread(facts, False, terms))
    facts = dataclasses.replace(
        facts, test="sign-flip", verdict="HELPS" if mean > 0 else "HURTS", too_small=abs(mean) < terms.rope
    )
    return dataclasses.replace(facts, reason=cell_reasons.without_spread(facts, True, terms))


def _add_measurements(facts: Verdict, differences: Differences, terms: TestSettings) -> Verdict:
    """Intervals, power and equivalence. Power is at alpha over the family: Holm's first and hardest step."""
    t_test = paired.run_paired_t(differences, terms.alpha)
    strict = terms.alpha / terms.family
    seeds = facts.seeds
    tested = seeds >= paired.equivalence_from(differences, terms.rope)
    many = seeds >= BY_SIGN_FLIP
    return dataclasses.replace(
        facts,
        ci_low=t_test.low,
        ci_high=t_test.high,
        test=_test_name(seeds),
        seeds_needed=paired.seeds_needed(terms.rope, differences, terms.family, terms.alpha, terms.looks),
        smallest_effect=paired.smallest_effect(differences, strict),
        equivalence_p=paired.test_equivalence(differences, terms.rope) if tested else None,
        bootstrap=paired.bootstrap_interval(differences, terms.alpha) if many else None,
        probability_better=paired.probability_better(differences, terms.alpha) if many else None,
    )


def _test_name(seeds: int) -> str:
    if seeds < WITH_EQUIVALENCE:
        return "t interval"
    if seeds < WITH_SIGN_FLIP:
        return "paired t"
    if seeds < BY_SIGN_FLIP:
        return "paired t and sign-flip"
    return "sign-flip" if seeds <= paired.EXACT_UP_TO else "sign-flip (Monte Carlo)"


def _apply_rule(facts: Verdict, differences: Differences, terms: TestSettings) -> Verdict:
    """HELPS or HURTS before EQUIVALENT; else NOT ENOUGH EVIDENCE, with what would be enough."""
    objection = cell_reasons.why_undecided(facts, differences, terms)
    if objection is None:
        mean, low, high = facts.mean_difference or 0.0, facts.ci_low or 0.0, facts.ci_high or 0.0
        ruled = dataclasses.replace(
            facts, verdict="HELPS" if mean > 0 else "HURTS", too_small=max(-low, high) < terms.rope
        )
        return dataclasses.replace(ruled, reason=cell_reasons.significant_text(ruled, terms))
    if facts.equivalence_p is not None and facts.equivalence_p < terms.alpha:
        return dataclasses.replace(facts, verdict="EQUIVALENT", reason=cell_reasons.equivalent_text(facts, terms))
    return dataclasses.replace(facts, reason=cell_reasons.undecided_text(facts, differences, objection, terms))


def count_rulings(verdicts: Sequence[Verdict]) -> dict[Ruling, int]:
    """How many cells got which verdict, in a fixed order, without the zeros."""
    counted = {ruling: sum(one.verdict == ruling for one in verdicts) for ruling in RULINGS}
    return {ruling: number for ruling, number in counted.items() if number}
