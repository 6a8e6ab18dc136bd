"""Seeds and what they can see: before a run, by the spread so far, and what every undecided cell lacks.

Power is a two-sided paired t test's, 0.8, at Holm's hardest step: alpha of one look over the size of the family. Seeds
with which the deciding test can't reach a verdict at all are never enough (`paired.is_attainable`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from analysis.formatting import format_plural, format_size
from analysis.records.model import CellResults
from analysis.stats import paired
from analysis.stats.paired import LEAST
from analysis.verdicts.model import TestSettings, Verdict
from analysis.verdicts.pairs import pair_cells
from analysis.verdicts.results import StudyResults


@dataclass(frozen=True)
class Need:
    """What one cell asks for.

    Attributes:
        undecided: more seeds could change its verdict.
        seeds: that it needs in all; those it has where it is decided; None: more than 1,000.
        why: for people.
    """

    verdict: Verdict
    undecided: bool
    seeds: int | None
    why: str

    @property
    def comparable(self) -> bool:
        return self.verdict.verdict != "NOT COMPARABLE"


@dataclass(frozen=True)
class MinimumEffect:
    """What a number of seeds can see before any difference is known.

    Attributes:
        smallest_effect_in_sd: in standard deviations of the paired differences; None: no verdict can be reached at all.
        unattainable: the sentence that says why not; empty where one can.
    """

    seeds: int
    smallest_effect_in_sd: float | None
    unattainable: str


@dataclass(frozen=True)
class Spread:
    """The standard deviation (fraction) of a cell's paired differences; `seeds_for_rope`: None for more than 1,000."""

    cell: CellResults
    seeds: int
    sd: float
    seeds_for_rope: int | None


@dataclass(frozen=True)
class GroupNeed:
    """The seeds of one group: its baseline and variants are paired, so all of them get as many.

    Attributes:
        seeds: confirm seeds that it has.
        needed: those that its neediest undecided cell asks for; None: more than 1,000.
        target: those that it shall have.
    """

    dataset: str
    backbone: str
    seeds: int
    needed: int | None
    target: int
    why: str
    cells: tuple[Need, ...]

    @property
    def capped(self) -> bool:
        """Whether it gets fewer seeds than it needs."""
        return self.needed is None or self.needed > self.target

    @property
    def comparable(self) -> bool:
        """Whether any of its cells has been compared; where none has, how many seeds it has and needs isn't known."""
        return any(need.comparable for need in self.cells)


def compute_mde(seeds: int, terms: TestSettings) -> MinimumEffect:
    """What so many seeds can see in a cell of the family."""
    problem = paired.describe_unattainable(seeds, terms.family, terms.alpha, terms.looks)
    if problem:
        return MinimumEffect(seeds, None, problem)
    return MinimumEffect(seeds, paired.effect_in_sd(seeds, terms.alpha / terms.family), "")


def list_spreads(findings: StudyResults) -> list[Spread]:
    """Of every cell that has enough comparable pairs with a spread, in the order of the plan."""
    terms, spreads = findings.terms, []
    for pairs in pair_cells(findings.records, findings.groups):
        count, differences = len(pairs.seeds), pairs.differences
        if count >= LEAST and not paired.is_constant(differences):
            needed = paired.seeds_needed(terms.rope, differences, terms.family, terms.alpha, terms.looks)
            spreads.append(Spread(pairs.cell, count, paired.compute_spread(differences), needed))
    return spreads


def list_needs(findings: StudyResults, effect: float, most: int) -> list[GroupNeed]:
    """What every group with a comparison needs to see `effect` (fraction), up to `most` seeds, in the plan's order."""
    terms = findings.terms
    needs: dict[tuple[str, str], list[Need]] = defaultdict(list)
    for verdict in findings.verdicts:
        needs[verdict.dataset, verdict.backbone].append(_find_need(verdict, effect, terms))
    return [_merge_needs(*group, tuple(cells), most, terms) for group, cells in needs.items()]


def _find_need(verdict: Verdict, effect: float, terms: TestSettings) -> Need:
    if verdict.verdict == "SINGLE RUN":
        return Need(verdict, True, LEAST, f"{format_plural(verdict.seeds, 'seed')}: no spread to plan with")
    if verdict.verdict == "NOT COMPARABLE":
        return Need(verdict, False, verdict.seeds, f"{verdict.verdict}: {verdict.reason}")
    if verdict.verdict != "NOT ENOUGH EVIDENCE":
        return Need(verdict, False, verdict.seeds, verdict.verdict)
    differences = verdict.list_differences()
    seeds = paired.seeds_needed(effect, differences, terms.family, terms.alpha, terms.looks)
    spread = f"sd {format_size(paired.compute_spread(differences))} pp"
    if seeds is None:
        return Need(verdict, True, None, f"{verdict.label} needs more than {paired.MOST_SEEDS:,} seeds ({spread})")
    if seeds > verdict.seeds:
        return Need(verdict, True, seeds, f"{verdict.label} needs {seeds} seeds ({spread})")
    seen = f"{verdict.seeds} seeds see {format_size(effect)} pp ({spread})"
    # An equivalence test is about the ROPE, so it is no answer to one who asks for a larger effect.
    tested_from = paired.equivalence_from(differences, terms.rope)
    if effect <= terms.rope and verdict.seeds < tested_from:
        enough = paired.attainable_from(tested_from, terms.family, terms.alpha, terms.looks)
        if enough is not None:
            return Need(verdict, True, enough, f"{seen}; {verdict.label} needs {enough} for an equivalence test")
    return Need(verdict, True, seeds, f"{seen} and show neither a difference nor equivalence; a smaller one takes more")


def _merge_needs(dataset: str, backbone: str, cells: tuple[Need, ...], most: int, terms: TestSettings) -> GroupNeed:
    """The neediest undecided cell's, since all are paired with one baseline; cut to `most`, and from there to a number
    of seeds that can reach a verdict."""
    seeds = max(need.verdict.seeds for need in cells)
    undecided = [need for need in cells if need.undecided]
    if not undecided:
        why = "no cell is undecided"
        if not any(need.comparable for need in cells):  # seeds: 0
            why = "nothing can be compared there yet"
        return GroupNeed(dataset, backbone, seeds, seeds, seeds, why, cells)
    worst = max(undecided, key=lambda need: need.seeds or paired.MOST_SEEDS + 1)
    wanted = worst.seeds or paired.MOST_SEEDS + 1
    target, why = max(seeds, min(most, wanted)), worst.why
    if wanted > target:
        problem = paired.describe_unattainable(target, terms.family, terms.alpha, terms.looks)
        sees = f"and {problem}"
        if not problem:
            spread = paired.compute_spread(worst.verdict.list_differences())
            effect = paired.effect_in_sd(target, terms.alpha / terms.family) * spread
            sees = f"which see >= {format_size(effect)} pp"
        why += f"; most_seeds is {most}, {sees}"
    while target > seeds and not paired.is_attainable(target, terms.family, terms.alpha, terms.looks):
        target -= 1
    return GroupNeed(dataset, backbone, seeds, worst.seeds, target, why, cells)
