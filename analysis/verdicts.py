"""One verdict per cell, by the number of seeds; the protocol is in docs/statistics.md.

The unit is the paired difference d_s = error(baseline) - error(variant) of seed s: positive means that the variant is
better. The family of Holm's correction is every non-baseline cell of the study that its plan didn't refuse; one without
a p value (unfinished, diverged, not comparable) counts as p = 1, so what is missing makes nothing more significant.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from analysis import reasons, statistics
from analysis.formats import NONE, plural, points, size
from analysis.pairs import Pairs, pairs
from analysis.reasons import Terms
from analysis.select import Group, Records, groups
from analysis.statistics import BY_SIGN_FLIP, LEAST, WITH_EQUIVALENCE, WITH_SIGN_FLIP, Differences

if TYPE_CHECKING:
    from analysis.across import VariantVerdict
    from analysis.findings import Findings

Ruling = Literal["HELPS", "HURTS", "MIXED", "EQUIVALENT", "NOT ENOUGH EVIDENCE", "SINGLE RUN", "NOT COMPARABLE"]
RULINGS: tuple[Ruling, ...] = get_args(Ruling)  # MIXED: of a variant, never of a cell
_WIDTH = 118  # columns of a terminal


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
    too_small: bool = False  # HELPS or HURTS, yet the whole interval lies within the ROPE
    learned: bool = True  # False: baseline or variant is no better than always answering the commonest class

    @property
    def label(self) -> str:
        return f"{self.variant} ({self.settings})" if self.settings else self.variant


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
    terms = Terms.of(records, len(family))
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
        seed_correlation=statistics.correlation(one.errors, one.errors + one.differences) if known else None,
        warnings=tuple(text for text, _ in taught.values() if text),
        learned=not any(nothing for _, nothing in taught.values()),
        verdict=verdict,
        reason=reason,
    )


def _learned_nothing(one: Pairs) -> dict[str, tuple[str, bool]]:
    """By name of the two sides; see `reasons.learned_nothing`."""
    sides = {one.name: one.baseline, one.cell.label: one.cell}
    return {name: reasons.learned_nothing(cell, name) for name, cell in sides.items() if cell is not None}


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
    impossible = statistics.unattainable(facts.seeds, terms.family, terms.alpha, terms.looks)
    if impossible:
        facts = dataclasses.replace(facts, warnings=(*facts.warnings, impossible))
    if statistics.all_zero(differences):
        same = f"identical in every seed ({facts.seeds})"
        ruled = dataclasses.replace(facts, verdict="EQUIVALENT", reason=same, ci_low=0.0, ci_high=0.0, test="identity")
    elif statistics.constant(differences):
        ruled = _without_spread(facts, terms)
    else:
        ruled = _rule(_measured(facts, differences, terms), differences, terms)
    if ruled.verdict == "EQUIVALENT" and nothing:
        return dataclasses.replace(ruled, reason=ruled.reason + reasons.nothing_to_say(nothing))
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
        return dataclasses.replace(facts, reason=reasons.without_spread(facts, False, terms))
    facts = dataclasses.replace(
        facts, test="sign-flip", verdict="HELPS" if mean > 0 else "HURTS", too_small=abs(mean) < terms.rope
    )
    return dataclasses.replace(facts, reason=reasons.without_spread(facts, True, terms))


def _measured(facts: Verdict, differences: Differences, terms: Terms) -> Verdict:
    """Intervals, power and equivalence. Power is at alpha over the family: Holm's first and hardest step."""
    t_test = statistics.paired_t(differences, terms.alpha)
    strict = terms.alpha / terms.family
    seeds = facts.seeds
    tested = seeds >= statistics.equivalence_from(differences, terms.rope)
    many = seeds >= BY_SIGN_FLIP
    return dataclasses.replace(
        facts,
        ci_low=t_test.low,
        ci_high=t_test.high,
        test=_test_name(seeds),
        seeds_needed=statistics.seeds_needed(terms.rope, differences, terms.family, terms.alpha, terms.looks),
        smallest_effect=statistics.smallest_effect(differences, strict),
        equivalence_p=statistics.equivalence(differences, terms.rope) if tested else None,
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


def _rule(facts: Verdict, differences: Differences, terms: Terms) -> Verdict:
    """HELPS or HURTS before EQUIVALENT; else NOT ENOUGH EVIDENCE, with what would be enough."""
    objection = reasons.objection(facts, differences, terms)
    if objection is None:
        mean, low, high = facts.mean_difference or 0.0, facts.ci_low or 0.0, facts.ci_high or 0.0
        ruled = dataclasses.replace(
            facts, verdict="HELPS" if mean > 0 else "HURTS", too_small=max(-low, high) < terms.rope
        )
        return dataclasses.replace(ruled, reason=reasons.found(ruled, terms))
    if facts.equivalence_p is not None and facts.equivalence_p < terms.alpha:
        return dataclasses.replace(facts, verdict="EQUIVALENT", reason=reasons.equivalent(facts, terms))
    return dataclasses.replace(facts, reason=reasons.undecided(facts, differences, objection, terms))


def tally(verdicts: Sequence[Verdict]) -> dict[Ruling, int]:
    """How many cells got which verdict, in a fixed order, without the zeros."""
    counted = {ruling: sum(one.verdict == ruling for one in verdicts) for ruling in RULINGS}
    return {ruling: number for ruling, number in counted.items() if number}


def to_json(findings: Findings) -> list[dict[str, Any]]:
    """One object per cell; errors and differences as fractions, positive when the variant is better."""
    return [dataclasses.asdict(one) for one in findings.verdicts]


def to_text(findings: Findings) -> str:
    """The verdicts on cells, then those on variants across datasets, for a terminal; each with its reason below."""
    records = findings.records
    terms = (
        f"{reasons.alpha_in_words(records)}, corrected for {plural(findings.family, 'cell')} (Holm); "
        f"too small to matter: within ±{size(records.rope)} pp; a positive difference means that the variant is better"
    )
    lines = [
        textwrap.fill(text, _WIDTH, break_on_hyphens=False)
        for text in (terms, *(f"note: {note}" for note in findings.notes))
    ]
    rows = [(f"{one.dataset} / {one.backbone}", one.label, plural(one.seeds, "seed"), one) for one in findings.verdicts]
    backbones = list(dict.fromkeys(group.backbone for group in findings.groups))
    every = backbones[0] if len(backbones) == 1 else "all backbones"
    across = [
        (one.backbone or every, one.label, plural(len(one.datasets), "dataset"), one) for one in findings.variants
    ]
    lines += ["", "Cells", *_lines(rows)] if rows else ["", "Nothing to judge: no variant stands beside a baseline."]
    if across and findings.several_datasets:
        lines += ["", "Variants across datasets", *_lines(across)]
    return "\n".join(lines)


def _lines(rows: Sequence[tuple[str, str, str, Verdict | VariantVerdict]]) -> list[str]:
    """Per row a line and its reason, under the place where the variant was grafted."""
    labels, counts = (max(map(len, column)) for column in zip(*((row[1], row[2]) for row in rows), strict=True))
    widest = max(len(row[3].verdict) for row in rows)
    lines: list[str] = []
    above = ""
    for place, label, count, one in sorted(rows, key=lambda row: [other[0] for other in rows].index(row[0])):
        lines += [f"  {place}"] if place != above else []
        above = place
        shown = f"{points(one.mean_difference)} pp" if one.mean_difference is not None else NONE
        lines.append(f"    {label:<{labels}}  {one.verdict:<{widest}}  {count:>{counts}}  {shown:>9}")
        indent = " " * 8
        for text in (one.reason, *(f"note: {warning}" for warning in one.warnings)):
            lines.append(
                textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
            )
    return lines
