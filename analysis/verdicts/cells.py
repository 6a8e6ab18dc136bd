"""One verdict per cell, by the number of seeds; the protocol is in docs/statistics.md.

The unit is the paired difference d_s = error(baseline) - error(variant) of seed s: positive means that the variant is
better. The family of Holm's correction is every non-baseline cell of the study that its plan didn't refuse; one without
a p value (unfinished, diverged, not comparable) counts as p = 1, so what is missing makes nothing more significant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from analysis.formatting import format_plural
from analysis.records.arrange import group_cells
from analysis.records.model import Group, Records
from analysis.stats import paired
from analysis.stats.paired import BY_SIGN_FLIP, LEAST, WITH_EQUIVALENCE, WITH_SIGN_FLIP, Differences
from analysis.verdicts import cell_reasons
from analysis.verdicts.model import RULINGS, Ruling, TestSettings, Verdict, rule_by_sign
from analysis.verdicts.pairs import Pairs, pair_cells


def judge_cells(records: Records, arranged: Sequence[Group] | None = None) -> list[Verdict]:
    """A verdict for every non-baseline cell of the study, in the order of the plan.

    Args:
        arranged: `arrange.group_cells(records)`, where the caller has it already.
    """
    if arranged is None:
        arranged = group_cells(records)
    compared = pair_cells(records, arranged)
    p_values = {pairs: _compute_p(pairs.differences) for pairs in compared if pairs.cell.in_family}
    adjusted = dict(zip(p_values, paired.adjust_holm(list(p_values.values())), strict=True))
    terms = TestSettings.of(records, len(p_values))
    verdicts = []
    for pairs in compared:
        count = len(pairs.seeds)
        if pairs.problem:
            verdicts.append(_make_plain_verdict(pairs, "NOT COMPARABLE", pairs.problem))
        elif count < LEAST:
            reason = f"{format_plural(count, 'seed')}: no test and no interval; a verdict takes {LEAST} seeds or more"
            verdicts.append(_make_plain_verdict(pairs, "SINGLE RUN", reason))
        else:
            verdicts.append(_judge_pairs(pairs, p_values[pairs], adjusted[pairs], terms))
    return verdicts


def _compute_p(differences: Differences) -> float:
    """Unadjusted p of the test that decides at this number of seeds; 1 where there is none."""
    if len(differences) < LEAST:
        return 1.0
    if len(differences) >= BY_SIGN_FLIP:
        return paired.sign_flip(differences)
    return paired.test_mean_difference(differences)


def _make_plain_verdict(pairs: Pairs, ruling: Ruling, reason: str) -> Verdict:
    """A verdict with what is known before any test."""
    warnings, unlearned = _find_unlearned(pairs)
    cell_id, differences, count = pairs.cell.cell_id._asdict(), pairs.differences, len(pairs.seeds)
    verdict = Verdict(**cell_id, seeds=count, warnings=warnings, learned=not unlearned, verdict=ruling, reason=reason)
    if not count:
        return verdict
    by_seed = tuple(zip(pairs.seeds, differences.tolist(), strict=True))
    mean, wins = float(differences.mean()), int((differences > 0).sum())
    correlation = paired.compute_correlation(pairs.errors, pairs.errors + differences)
    return replace(verdict, mean_difference=mean, wins=wins, differences=by_seed, seed_correlation=correlation)


def _find_unlearned(pairs: Pairs) -> tuple[tuple[str, ...], list[str]]:
    """Warnings of networks that learned nothing, and the names of the sides where that is all of them."""
    warnings, unlearned = [], []
    for name, side in (("baseline", pairs.baseline), (pairs.cell.label, pairs.cell)):
        if side is not None:
            warning, nothing = cell_reasons.find_unlearned(side, name)
            if warning:
                warnings.append(warning)
            if nothing:
                unlearned.append(name)
    return tuple(warnings), unlearned


def _judge_pairs(pairs: Pairs, p: float, p_adjusted: float, terms: TestSettings) -> Verdict:
    """The verdict on a cell with at least 3 pairs."""
    differences = pairs.differences
    facts = replace(_make_plain_verdict(pairs, "NOT ENOUGH EVIDENCE", ""), p_value=p, p_adjusted=p_adjusted)
    impossible = paired.describe_unattainable(facts.seeds, terms.family, terms.alpha, terms.looks)
    if impossible:
        facts = replace(facts, warnings=(*facts.warnings, impossible))
    if paired.all_zero(differences):
        same = f"identical in every seed ({facts.seeds})"
        ruled = replace(facts, verdict="EQUIVALENT", reason=same, ci_low=0.0, ci_high=0.0, test="identity")
    elif paired.is_constant(differences):
        ruled = _judge_without_spread(facts, terms)
    else:
        facts = replace(_add_measurements(facts, differences, terms), test=_name_test(facts.seeds))
        ruled = _apply_rule(facts, differences, terms)
    if ruled.verdict == "EQUIVALENT" and not ruled.learned:
        _, unlearned = _find_unlearned(pairs)
        return replace(ruled, reason=ruled.reason + cell_reasons.nothing_to_say(unlearned))
    return ruled


def _judge_without_spread(facts: Verdict, terms: TestSettings) -> Verdict:
    """The same non-zero difference in every seed: no spread for a t test, so the exact sign-flip test alone decides.

    A t statistic would be infinite here, and on a small test set such a run of equal differences comes by chance.
    """
    decided = facts.p_adjusted is not None and facts.p_adjusted < terms.alpha
    if decided:
        too_small = abs(facts.mean_difference or 0.0) < terms.rope
        facts = replace(facts, verdict=rule_by_sign(facts.mean_difference), too_small=too_small)
    if decided or facts.seeds >= WITH_SIGN_FLIP:
        facts = replace(facts, test="sign-flip")
    else:  # exact tests say nothing there, so none is shown
        facts = replace(facts, p_value=None, p_adjusted=None)
    return replace(facts, reason=cell_reasons.without_spread(facts, decided, terms))


def _add_measurements(facts: Verdict, differences: Differences, terms: TestSettings) -> Verdict:
    """Intervals, power and equivalence. Power is at alpha over the family: Holm's first and hardest step."""
    t_test = paired.run_paired_t(differences, terms.alpha)
    effect = paired.smallest_effect(differences, terms.alpha / terms.family)
    needed = paired.seeds_needed(terms.rope, differences, terms.family, terms.alpha, terms.looks)
    facts = replace(facts, ci_low=t_test.low, ci_high=t_test.high, smallest_effect=effect, seeds_needed=needed)
    if facts.seeds >= paired.equivalence_from(differences, terms.rope):
        facts = replace(facts, equivalence_p=paired.test_equivalence(differences, terms.rope))
    if facts.seeds >= BY_SIGN_FLIP:
        facts = replace(facts, bootstrap=paired.bootstrap_interval(differences, terms.alpha))
        facts = replace(facts, probability_better=paired.probability_better(differences, terms.alpha))
    return facts


def _name_test(seeds: int) -> str:
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
        too_small = max(-(facts.ci_low or 0.0), facts.ci_high or 0.0) < terms.rope
        ruled = replace(facts, verdict=rule_by_sign(facts.mean_difference), too_small=too_small)
        return replace(ruled, reason=cell_reasons.significant_text(ruled, terms))
    if facts.equivalence_p is not None and facts.equivalence_p < terms.alpha:
        return replace(facts, verdict="EQUIVALENT", reason=cell_reasons.equivalent_text(facts, terms))
    return replace(facts, reason=cell_reasons.undecided_text(facts, differences, objection, terms))


def count_rulings(verdicts: Sequence[Verdict]) -> dict[Ruling, int]:
    """How many cells got which verdict, in a fixed order, without the zeros."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    return {ruling: counts[ruling] for ruling in RULINGS if counts[ruling]}
