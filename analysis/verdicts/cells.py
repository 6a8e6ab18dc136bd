"""One verdict per cell, by the number of seeds; the protocol is in docs/statistics.md.

The unit is the paired difference d_s = error(baseline) - error(variant) of seed s: positive means that the variant is
better. The family of Holm's correction is every non-baseline cell of the study that its plan didn't refuse; one without
a p value (unfinished, diverged, not comparable) counts as p = 1, so what is missing makes nothing more significant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.formatting import plural
from analysis.records.arrange import groups
from analysis.records.model import Group, Records
from analysis.stats import paired
from analysis.stats.paired import BY_SIGN_FLIP, LEAST, WITH_EQUIVALENCE, WITH_SIGN_FLIP, Differences
from analysis.verdicts import cell_reasons
from analysis.verdicts.model import RULINGS, Ruling, Terms, Verdict
from analysis.verdicts.pairs import Pairs, pairs

if TYPE_CHECKING:
    pass


def judge(records: Records, arranged: Sequence[Group] | None = None) -> list[Verdict]:
    """A verdict for every non-baseline cell of the study, in the order of the plan.

    Args:
        arranged: `arrange.groups(records)`, where the caller has it already.
    """
    compared = pairs(records, groups(records) if arranged is None else arranged)
    p_values = {index: _raw_p(one.differences) for index, one in enumerate(compared) if len(one.seeds) >= LEAST}
    family = [index for index, one in enumerate(compared) if one.cell.in_family]
    corrected = paired.holm([p_values.get(index, 1.0) for index in family], records.alpha)
    adjusted = dict(zip(family, corrected, strict=True))
    terms = Terms.of(records, len(family))
    return [
        _verdict(one, p_values[index], adjusted[index], terms) if index in p_values else _untested(one)
        for index, one in enumerate(compared)
    ]


def _raw_p(differences: Differences) -> float:
    """Unadjusted p of the test that decides at this number of seeds."""
    if paired.all_zero(differences):
        return 1.0
    if len(differences) >= BY_SIGN_FLIP or paired.constant(differences):
        return paired.sign_flip(differences)
    return paired.paired_t(differences).p_value


def _plain(one: Pairs, verdict: Ruling, reason: str) -> Verdict:
    """A verdict with what is known before any test."""
    cell, known, taught = one.cell, len(one.seeds) > 0, _learned_nothing(one)
    return Verdict(
        dataset=cell.dataset,
        backbone=cell.backbone,
        variant=cell.variant,
        settings=cell.settings,
        seeds=len(one.seeds),
        mean_difference=float(one.differences.mean()) if known else None,
        wins=int((one.differences > 0).sum()) if known else None,
        differences=tuple(zip(one.seeds, map(float, one.differences), strict=True)),
        seed_correlation=paired.correlation(one.errors, one.errors + one.differences) if known else None,
        warnings=tuple(text for text, _ in taught.values() if text),
        learned=not any(nothing for _, nothing in taught.values()),
        verdict=verdict,
        reason=reason,
    )


def _learned_nothing(one: Pairs) -> dict[str, tuple[str, bool]]:
    """By name of the two sides; see `cell_reasons.learned_nothing`."""
    sides = {one.name: one.baseline, one.cell.label: one.cell}
    return {name: cell_reasons.learned_nothing(cell, name) for name, cell in sides.items() if cell is not None}


def _untested(one: Pairs) -> Verdict:
    if one.problem:
        return _plain(one, "NOT COMPARABLE", one.problem)
    seeds = plural(len(one.seeds), "seed")
    return _plain(one, "SINGLE RUN", f"{seeds}: no test and no interval; a verdict takes {LEAST} seeds or more")


def _verdict(one: Pairs, p: float, p_adjusted: float, terms: Terms) -> Verdict:
    """The verdict on a cell with at least 3 pairs."""
    differences, nothing = (
        one.differences,
        [name for name, (_, all_of_it) in _learned_nothing(one).items() if all_of_it],
    )
    facts = dataclasses.replace(_plain(one, "NOT ENOUGH EVIDENCE", ""), p_value=p, p_adjusted=p_adjusted)
    impossible = paired.unattainable(facts.seeds, terms.family, terms.alpha, terms.looks)
    if impossible:
        facts = dataclasses.replace(facts, warnings=(*facts.warnings, impossible))
    if paired.all_zero(differences):
        same = f"identical in every seed ({facts.seeds})"
        ruled = dataclasses.replace(facts, verdict="EQUIVALENT", reason=same, ci_low=0.0, ci_high=0.0, test="identity")
    elif paired.constant(differences):
        ruled = _without_spread(facts, terms)
    else:
        ruled = _rule(_measured(facts, differences, terms), differences, terms)
    if ruled.verdict == "EQUIVALENT" and nothing:
        return dataclasses.replace(ruled, reason=ruled.reason + cell_reasons.nothing_to_say(nothing))
    return ruled


def _without_spread(facts: Verdict, terms: Terms) -> Verdict:
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


def _measured(facts: Verdict, differences: Differences, terms: Terms) -> Verdict:
    """Intervals, power and equivalence. Power is at alpha over the family: Holm's first and hardest step."""
    t_test = paired.paired_t(differences, terms.alpha)
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
        equivalence_p=paired.equivalence(differences, terms.rope) if tested else None,
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


def _rule(facts: Verdict, differences: Differences, terms: Terms) -> Verdict:
    """HELPS or HURTS before EQUIVALENT; else NOT ENOUGH EVIDENCE, with what would be enough."""
    objection = cell_reasons.objection(facts, differences, terms)
    if objection is None:
        mean, low, high = facts.mean_difference or 0.0, facts.ci_low or 0.0, facts.ci_high or 0.0
        ruled = dataclasses.replace(
            facts, verdict="HELPS" if mean > 0 else "HURTS", too_small=max(-low, high) < terms.rope
        )
        return dataclasses.replace(ruled, reason=cell_reasons.found(ruled, terms))
    if facts.equivalence_p is not None and facts.equivalence_p < terms.alpha:
        return dataclasses.replace(facts, verdict="EQUIVALENT", reason=cell_reasons.equivalent(facts, terms))
    return dataclasses.replace(facts, reason=cell_reasons.undecided(facts, differences, objection, terms))


def tally(verdicts: Sequence[Verdict]) -> dict[Ruling, int]:
    """How many cells got which verdict, in a fixed order, without the zeros."""
    counted = {ruling: sum(one.verdict == ruling for one in verdicts) for ruling in RULINGS}
    return {ruling: number for ruling, number in counted.items() if number}
