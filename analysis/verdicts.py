"""One verdict per cell, by the number of seeds; the protocol is in docs/statistics.md.

The unit is the paired difference d_s = error(baseline) - error(variant) of seed s: positive means that the variant is
better. The family of Holm's correction is every non-baseline cell of the study that its plan didn't refuse; one without
a p value (unfinished, diverged, not comparable) counts as p = 1, so what is missing makes nothing more significant.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from analysis import statistics
from analysis.formats import interval, level, p_is, percent, plural, points, size
from analysis.pairs import Pairs, pairs
from analysis.select import Group, Records, groups, load
from analysis.statistics import Differences

Ruling = Literal["HELPS", "HURTS", "MIXED", "EQUIVALENT", "NOT ENOUGH EVIDENCE", "SINGLE RUN", "NOT COMPARABLE"]
RULINGS: tuple[Ruling, ...] = get_args(Ruling)  # MIXED: of a variant, never of a cell

LEAST = 3  # seeds below which there is no test
WITH_EQUIVALENCE = 4
WITH_SIGN_FLIP = 6  # 2/2^6 = 0.031: the first n at which a sign-flip test can agree at 0.05
BY_SIGN_FLIP = 10
BY_PROBABILITY = 29  # Bouthillier et al. 2021: P(variant better) >= 0.75 can be told from 0.5 from here on
WORTH_HAVING = 0.75


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

    @property
    def label(self) -> str:
        return f"{self.variant} ({self.settings})" if self.settings else self.variant


@dataclass(frozen=True)
class _Terms:
    """What the study fixed before the run, and the size of its family."""

    alpha: float
    rope: float
    family: int


def judge(records: Records, arranged: Sequence[Group] | None = None) -> list[Verdict]:
    """A verdict for every non-baseline cell of the study, in the order of the plan.

    Args:
        arranged: `select.groups(records)`, where the caller has it already.
    """
    compared = pairs(records, groups(records) if arranged is None else arranged)
    p_values = {index: _raw_p(one.differences) for index, one in enumerate(compared) if len(one.seeds) >= LEAST}
    family = [index for index, one in enumerate(compared) if one.cell.in_family]
    corrected = statistics.holm([p_values.get(index, 1.0) for index in family], records.alpha)
    adjusted = dict(zip(family, corrected, strict=True))
    terms = _Terms(records.alpha, records.rope, len(family))
    return [
        _verdict(one, p_values[index], adjusted[index], terms) if index in p_values else _untested(one)
        for index, one in enumerate(compared)
    ]


def _raw_p(differences: Differences) -> float:
    """Unadjusted p of the test that decides at this number of seeds."""
    if statistics.all_zero(differences):
        return 1.0
    if len(differences) >= BY_SIGN_FLIP or statistics.constant(differences):
        return statistics.sign_flip(differences)
    return statistics.paired_t(differences).p_value


def _plain(one: Pairs, verdict: Ruling, reason: str) -> Verdict:
    """A verdict with what is known before any test."""
    cell, known = one.cell, len(one.seeds) > 0
    return Verdict(
        dataset=cell.dataset,
        backbone=cell.backbone,
        variant=cell.variant,
        settings=cell.settings,
        seeds=len(one.seeds),
        mean_difference=float(one.differences.mean()) if known else None,
        wins=int((one.differences > 0).sum()) if known else None,
        differences=tuple(zip(one.seeds, map(float, one.differences), strict=True)),
        verdict=verdict,
        reason=reason,
    )


def _untested(one: Pairs) -> Verdict:
    if one.problem:
        return _plain(one, "NOT COMPARABLE", one.problem)
    seeds = plural(len(one.seeds), "seed")
    return _plain(one, "SINGLE RUN", f"{seeds}: no test and no interval; a verdict takes {LEAST} or more")


def _verdict(one: Pairs, p: float, p_adjusted: float, terms: _Terms) -> Verdict:
    """The verdict on a cell with at least 3 pairs."""
    differences = one.differences
    if statistics.all_zero(differences):
        same = _plain(one, "EQUIVALENT", f"identical in every seed ({len(one.seeds)})")
        return dataclasses.replace(same, p_value=p, p_adjusted=p_adjusted, ci_low=0.0, ci_high=0.0, test="identity")
    facts = dataclasses.replace(_plain(one, "NOT ENOUGH EVIDENCE", ""), p_value=p, p_adjusted=p_adjusted)
    if statistics.constant(differences):
        return _without_spread(facts, terms)
    return _rule(_measured(facts, differences, terms), differences, terms)


def _without_spread(facts: Verdict, terms: _Terms) -> Verdict:
    """The same non-zero difference in every seed: no spread for a t test, so the exact sign-flip test alone decides.

    A t statistic would be infinite here, and on a small test set such a run of equal differences comes by chance.
    """
    mean = facts.mean_difference or 0.0
    text = f"{points(mean)} pp in each of {facts.seeds} seeds, so the t test has no spread to go by"
    facts = dataclasses.replace(facts, test="sign-flip")
    if (facts.p_adjusted or 0.0) < terms.alpha:
        text += f"; sign-flip, Holm-adjusted {p_is(facts.p_adjusted)}"
        small = "; too small to matter" if abs(mean) < terms.rope else ""
        return dataclasses.replace(facts, verdict="HELPS" if mean > 0 else "HURTS", reason=text + small)
    enough = statistics.seeds_for_sign_flip(terms.family, terms.alpha)
    more = f"; {plural(enough - facts.seeds, 'more seed')} could" if enough > facts.seeds else ""
    return dataclasses.replace(
        facts, reason=f"{text}; {facts.seeds} seeds cannot decide by sign-flip ({p_is(facts.p_value)}){more}"
    )


def _measured(facts: Verdict, differences: Differences, terms: _Terms) -> Verdict:
    """Intervals, power and equivalence. Power is at alpha over the family: Holm's first and hardest step."""
    t_test = statistics.paired_t(differences, terms.alpha)
    strict = terms.alpha / terms.family
    seeds, needed = facts.seeds, statistics.seeds_to_see(terms.rope, differences, strict)
    if needed is not None and needed >= BY_SIGN_FLIP:
        needed = max(needed, statistics.seeds_for_sign_flip(terms.family, terms.alpha))
    equivalence = None
    if seeds >= WITH_EQUIVALENCE and terms.rope >= 2 * statistics.spread(differences):
        equivalence = statistics.equivalence(differences, terms.rope)
    many = seeds >= BY_SIGN_FLIP
    return dataclasses.replace(
        facts,
        ci_low=t_test.low,
        ci_high=t_test.high,
        test=_test_name(seeds),
        seeds_needed=needed,
        smallest_effect=statistics.smallest_effect(differences, strict),
        equivalence_p=equivalence,
        bootstrap=statistics.bootstrap_interval(differences, terms.alpha) if many else None,
        probability_better=statistics.probability_better(differences, terms.alpha) if many else None,
    )


def _test_name(seeds: int) -> str:
    if seeds < WITH_EQUIVALENCE:
        return "t interval"
    if seeds < WITH_SIGN_FLIP:
        return "paired t"
    if seeds < BY_SIGN_FLIP:
        return "paired t and sign-flip"
    return "sign-flip" if seeds <= statistics.EXACT_UP_TO else "sign-flip (Monte Carlo)"


def _rule(facts: Verdict, differences: Differences, terms: _Terms) -> Verdict:
    """HELPS or HURTS before EQUIVALENT; else NOT ENOUGH EVIDENCE, with what would be enough."""
    mean, low, high = facts.mean_difference or 0.0, facts.ci_low or 0.0, facts.ci_high or 0.0
    between = f"{level(terms.alpha)} CI {interval(low, high)} pp"
    objection = _objection(facts, differences, terms)
    if objection is None:
        tests = f"{facts.test}, Holm-adjusted {p_is(facts.p_adjusted)}, {facts.seeds} seeds"
        direction = "lower" if mean > 0 else "higher"
        reason = f"error {percent(abs(mean))} pp {direction} than the baseline's; {between} ({tests})"
        if max(abs(low), abs(high)) < terms.rope:
            reason += f"; too small to matter (within ±{size(terms.rope)} pp)"
        return dataclasses.replace(facts, verdict="HELPS" if mean > 0 else "HURTS", reason=reason)
    if facts.equivalence_p is not None and facts.equivalence_p < terms.alpha:
        within = f"within ±{size(terms.rope)} pp of the baseline (TOST {p_is(facts.equivalence_p)})"
        return dataclasses.replace(facts, verdict="EQUIVALENT", reason=f"{within}; {between}, {facts.seeds} seeds")
    wins = f"{facts.wins}/{facts.seeds} wins; " if facts.seeds < WITH_EQUIVALENCE else ""
    return dataclasses.replace(facts, reason=f"{between}; {wins}{objection}{_enough(facts, terms)}")


def _objection(facts: Verdict, differences: Differences, terms: _Terms) -> str | None:
    """Why the cell is neither HELPS nor HURTS, as a part of a sentence ('' when the interval says it); None: it is."""
    low, high = facts.ci_low or 0.0, facts.ci_high or 0.0
    if low <= 0.0 <= high:
        return ""
    if facts.p_adjusted is None or facts.p_adjusted >= terms.alpha:
        if facts.p_value is not None and facts.p_value >= terms.alpha:
            return f"the {facts.test} test has {p_is(facts.p_value)}; "
        return f"{p_is(facts.p_adjusted)} after Holm's correction for {plural(terms.family, 'cell')}; "
    if WITH_SIGN_FLIP <= facts.seeds < BY_SIGN_FLIP:
        flip = statistics.sign_flip(differences)
        if flip >= terms.alpha:
            return f"the exact sign-flip test does not agree ({p_is(flip)}); "
    if facts.seeds >= BY_PROBABILITY and facts.probability_better is not None:
        better, least, most = facts.probability_better
        if (facts.mean_difference or 0.0) < 0:
            better, least = 1 - better, 1 - most
        if better < WORTH_HAVING or least <= 0.5:
            return f"it decides only {100 * better:.0f} % of the seeds, {100 * WORTH_HAVING:.0f} % are asked for; "
    return None


def _enough(facts: Verdict, terms: _Terms) -> str:
    """`5 seeds can only see >= 0.8 pp; 7 more seeds would see 0.5 pp`."""
    seeds, rope = facts.seeds, size(terms.rope)
    sees = f"{seeds} seeds can only see >= {size(facts.smallest_effect or 0.0)} pp"
    least = statistics.seeds_for_sign_flip(terms.family, terms.alpha)
    if BY_SIGN_FLIP <= seeds < least:
        return f"{seeds} seeds cannot decide by sign-flip over {terms.family} cells, {least} can"
    if facts.seeds_needed is None:
        return f"{sees}; more than {statistics.MOST_SEEDS} seeds would be needed to see {rope} pp"
    if facts.seeds_needed > seeds:
        return f"{sees}; {plural(facts.seeds_needed - seeds, 'more seed')} would see {rope} pp"
    return f"{seeds} seeds see >= {size(facts.smallest_effect or 0.0)} pp"


def tally(verdicts: Sequence[Verdict]) -> dict[Ruling, int]:
    """How many cells got which verdict, in a fixed order, without the zeros."""
    counted = {ruling: sum(one.verdict == ruling for one in verdicts) for ruling in RULINGS}
    return {ruling: number for ruling, number in counted.items() if number}


def main(arguments: list[str] | None = None) -> int:
    """`python -m analysis.verdicts`: the verdicts as JSON."""
    parser = argparse.ArgumentParser(prog="python -m analysis.verdicts", description="Verdicts of a study, as JSON.")
    parser.add_argument("records", type=Path, help="folder that analysis.collect wrote")
    verdicts = judge(load(parser.parse_args(arguments).records))
    sys.stdout.write(json.dumps([dataclasses.asdict(one) for one in verdicts], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
