"""Seeds and what they can see: before a run, by the spread so far, and what every undecided cell lacks.

Power is a two-sided paired t test's, 0.8, at Holm's hardest step: alpha of one look over the size of the family. Seeds
with which the deciding test can't reach a verdict at all are never enough (`paired.is_attainable`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.formatting import format_plural, format_size
from analysis.records.model import CellResults
from analysis.stats import paired
from analysis.stats.paired import LEAST, Differences
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
    seen = None if problem else paired.effect_in_sd(seeds, terms.alpha / terms.family)
    return MinimumEffect(seeds, seen, problem)


def list_spreads(findings: StudyResults) -> list[Spread]:
    """Of every cell that has enough comparable pairs with a spread, in the order of the plan."""
    terms, found = terms_of(findings), []
    for one in pair_cells(findings.records, findings.groups):
        if len(one.seeds) >= LEAST and not paired.is_constant(one.differences):
            needed = _seeds_needed(terms.rope, one.differences, terms)
            found.append(Spread(one.cell, len(one.seeds), paired.compute_spread(one.differences), needed))
    return found


def terms_of(findings: StudyResults) -> TestSettings:
    """What the study fixed before the run, and the size of its family."""
    return TestSettings.of(findings.records, findings.family)


def _seeds_needed(effect: float, differences: Differences, terms: TestSettings) -> int | None:
    return paired.seeds_needed(effect, differences, terms.family, terms.alpha, terms.looks)


def list_needs(findings: StudyResults, effect: float, most: int) -> list[GroupNeed]:
    """What every group with a comparison needs to see `effect` (fraction), up to `most` seeds, in the plan's order."""
    terms, by_group = terms_of(findings), dict[tuple[str, str], list[Need]]()
    for verdict in findings.verdicts:
        by_group.setdefault((verdict.dataset, verdict.backbone), []).append(_find_need(verdict, effect, terms))
    return [_group_need(*group, tuple(cells), most, terms) for group, cells in by_group.items()]


def _find_need(verdict: Verdict, effect: float, terms: TestSettings) -> Need:
    if verdict.verdict == "SINGLE RUN":
        return Need(verdict, True, LEAST, f"{format_plural(verdict.seeds, 'seed')}: no spread to plan with")
    if verdict.verdict != "NOT ENOUGH EVIDENCE":
        reason = f": {verdict.reason}" if verdict.verdict == "NOT COMPARABLE" else ""
        return Need(verdict, False, verdict.seeds, f"{verdict.verdict}{reason}")
    differences = np.array([difference for _, difference in verdict.differences])
    seeds = _seeds_needed(effect, differences, terms)
    spread = f"sd {format_size(paired.compute_spread(differences))} pp"
    if seeds is not None and seeds <= verdict.seeds:
        return _need_though_seen(verdict, seeds, differences, effect, terms)
    asked = f"more than {paired.MOST_SEEDS:,}" if seeds is None else str(seeds)
    return Need(verdict, True, seeds, f"{verdict.label} needs {asked} seeds ({spread})")


def _need_though_seen(
    verdict: Verdict, seeds: int, differences: Differences, effect: float, terms: TestSettings
) -> Need:
    """Of an undecided cell whose seeds see the effect: as many as an equivalence test takes, where it has had none.

    That test is about the ROPE, so it is no answer to one who asks for a larger effect.
    """
    seen = (
        f"{verdict.seeds} seeds see {format_size(effect)} pp (sd {format_size(paired.compute_spread(differences))} pp)"
    )
    tested_from = paired.equivalence_from(differences, terms.rope)
    if effect <= terms.rope and verdict.seeds < tested_from:
        enough = paired.attainable_from(tested_from, terms.family, terms.alpha, terms.looks)
        if enough is not None:
            return Need(verdict, True, enough, f"{seen}; {verdict.label} needs {enough} for an equivalence test")
    return Need(verdict, True, seeds, f"{seen} and show neither a difference nor equivalence; a smaller one takes more")


def _smallest_effect(verdict: Verdict, seeds: int, terms: TestSettings) -> float:
    """The smallest mean difference (fraction) that so many seeds of the cell would see, given its spread so far."""
    spread = paired.compute_spread(np.array([difference for _, difference in verdict.differences]))
    return paired.effect_in_sd(seeds, terms.alpha / terms.family) * spread


def _group_need(dataset: str, backbone: str, cells: tuple[Need, ...], most: int, terms: TestSettings) -> GroupNeed:
    """The neediest undecided cell's, since all are paired with one baseline; cut to `most`, and from there to a number
    of seeds that can reach a verdict."""
    seeds = max(need.verdict.seeds for need in cells)
    undecided = [need for need in cells if need.undecided]
    if not any(need.comparable for need in cells):  # seeds: 0
        return GroupNeed(dataset, backbone, seeds, seeds, seeds, "nothing can be compared there yet", cells)
    if not undecided:
        return GroupNeed(dataset, backbone, seeds, seeds, seeds, "no cell is undecided", cells)
    worst = max(undecided, key=lambda need: need.seeds or paired.MOST_SEEDS + 1)
    wanted = paired.MOST_SEEDS + 1 if worst.seeds is None else worst.seeds
    target, why = max(seeds, min(most, wanted)), worst.why
    if wanted > target:
        why += f"; most_seeds is {most}"
        problem = paired.describe_unattainable(target, terms.family, terms.alpha, terms.looks)
        why += (
            f", and {problem}"
            if problem
            else f", which see >= {format_size(_smallest_effect(worst.verdict, target, terms))} pp"
        )
    while target > seeds and not paired.is_attainable(target, terms.family, terms.alpha, terms.looks):
        target -= 1
    return GroupNeed(dataset, backbone, seeds, worst.seeds, target, why, cells)
