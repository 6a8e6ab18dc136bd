"""Why a verdict is what it is: the conditions of HELPS and HURTS (`why_undecided`), and the sentences of all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis.formatting import (
    format_interval,
    format_level,
    format_p,
    format_percent,
    format_plural,
    format_points,
    format_ranges,
    format_size,
)
from analysis.records.model import CellResults
from analysis.stats import paired
from analysis.stats.paired import BY_PROBABILITY, BY_SIGN_FLIP, WITH_EQUIVALENCE, WITH_SIGN_FLIP, Differences
from analysis.verdicts.model import TestSettings, Verdict

WORTH_HAVING = 0.75  # P(variant better), Bouthillier et al. 2021
_BY_CHANCE = 2.0  # binomial standard errors of a test part's error: exceeded in 1 of 44 test parts


def alpha_in_words(terms: TestSettings) -> str:
    """`alpha 0.05`, `alpha 0.05 split over 2 looks: 0.025 at each`."""
    text = f"alpha {terms.alpha * terms.looks:.3g}"
    return text if terms.looks == 1 else f"{text} split over {terms.looks} looks: {terms.alpha:.3g} at each"


def looks_note(terms: TestSettings) -> str:
    """The end of a reason, where there are several looks."""
    return "" if terms.looks == 1 else f"; {alpha_in_words(terms)}"


def corrected_text(p: float | None, family: int, noun: str = "cell") -> str:
    """`p = 0.012 after Holm's correction for 5 cells`; a family of one needs no correction."""
    if family == 1:
        return format_p(p)
    return f"{format_p(p)} after Holm's correction for {format_plural(family, noun)}"


def _interval_text(facts: Verdict, terms: TestSettings) -> str:
    return f"{format_level(terms.alpha)} CI {format_interval(facts.ci_low, facts.ci_high)} pp"


def significant_text(facts: Verdict, terms: TestSettings) -> str:
    """The reason of HELPS and HURTS."""
    mean = facts.mean_difference or 0.0
    direction = "lower" if mean > 0 else "higher"
    text = f"error {format_percent(abs(mean))} pp {direction} than the baseline's; {_interval_text(facts, terms)}"
    tests = f"{facts.test}, {corrected_text(facts.p_adjusted, terms.family)}, {facts.seeds} seeds"
    return f"{text} ({tests}){_size_note(facts, terms)}{looks_note(terms)}"


def _size_note(facts: Verdict, terms: TestSettings) -> str:
    return f"; too small to matter (within ±{format_size(terms.rope)} pp)" if facts.too_small else ""


def equivalent_text(facts: Verdict, terms: TestSettings) -> str:
    within = f"within ±{format_size(terms.rope)} pp of the baseline"
    test = f"equivalence test, TOST, {format_p(facts.equivalence_p)}"
    return f"{within} ({test}); {_interval_text(facts, terms)}, {facts.seeds} seeds{looks_note(terms)}"


def undecided_text(facts: Verdict, differences: Differences, objection: str, terms: TestSettings) -> str:
    """The reason of NOT ENOUGH EVIDENCE: the interval, what speaks against a verdict, what would be enough."""
    parts = [_interval_text(facts, terms)]
    if facts.seeds < WITH_EQUIVALENCE:
        parts.append(f"{facts.wins}/{facts.seeds} wins")
    parts += [objection, too_scattered(differences, terms.rope), _enough_text(facts, terms)]
    return "; ".join(filter(None, parts)) + looks_note(terms)


def too_scattered(differences: Differences, rope: float, always: int = BY_SIGN_FLIP, noun: str = "seeds") -> str:
    """Why there was no equivalence test although the mean lies within the ROPE; empty where there was one.

    `always`: from how many differences on there is one whatever their spread; `noun`: what they are, for people.
    """
    count = len(differences)
    if count < WITH_EQUIVALENCE or count >= paired.equivalence_from(differences, rope, always):
        return ""
    if abs(float(differences.mean())) >= rope:
        return ""
    spread = format_size(paired.compute_spread(differences))
    return f"{noun} scatter too widely (sd {spread} pp) for an equivalence test below {always} {noun}"


def why_undecided(facts: Verdict, differences: Differences, terms: TestSettings) -> str | None:
    """Why the cell is neither HELPS nor HURTS, as a part of a sentence ('' when the interval says it); None: it is.

    The sign-flip test has to agree unadjusted: neither the family nor the looks correct its level.
    """
    low, high = facts.ci_low or 0.0, facts.ci_high or 0.0
    if low <= 0.0 <= high:
        return ""
    if facts.p_adjusted is None or facts.p_adjusted >= terms.alpha:
        if facts.p_value is not None and facts.p_value >= terms.alpha:
            return f"the {facts.test} test has {format_p(facts.p_value)}"
        return corrected_text(facts.p_adjusted, terms.family)
    if WITH_SIGN_FLIP <= facts.seeds < BY_SIGN_FLIP:
        flip = paired.sign_flip(differences)
        if flip >= terms.alpha * terms.looks:
            return f"the exact sign-flip test does not agree ({format_p(flip)})"
    if facts.seeds >= BY_PROBABILITY and facts.probability_better is not None:
        better, least, most = facts.probability_better
        if (facts.mean_difference or 0.0) < 0:
            better, least = 1 - better, 1 - most
        if better < WORTH_HAVING or least <= 0.5:
            asked = f"{100 * WORTH_HAVING:.0f} % with a lower bound above 50 % are asked for"
            return f"only {100 * better:.0f} % of the seeds go that way (lower bound {100 * least:.0f} %), {asked}"
    return None


def _enough_text(facts: Verdict, terms: TestSettings) -> str:
    """`5 seeds can only see >= 0.8 pp; 7 more seeds would see 0.5 pp`."""
    seeds, rope = facts.seeds, format_size(terms.rope)
    impossible = paired.describe_unattainable(seeds, terms.family, terms.alpha, terms.looks)
    if impossible:
        return impossible
    sees = f"{seeds} seeds can only see >= {format_size(facts.smallest_effect or 0.0)} pp"
    if facts.seeds_needed is None:
        return f"{sees}; more than {paired.MOST_SEEDS} seeds would be needed to see {rope} pp"
    if facts.seeds_needed > seeds:
        return f"{sees}; {format_plural(facts.seeds_needed - seeds, 'more seed')} would see {rope} pp"
    return f"{seeds} seeds see >= {format_size(facts.smallest_effect or 0.0)} pp"


def without_spread(facts: Verdict, decided: bool, terms: TestSettings) -> str:
    """Of a cell with the same difference in every seed, where the sign-flip test alone decides."""
    seeds = facts.seeds
    text = f"{format_points(facts.mean_difference)} pp in each of {seeds} seeds, so the t test has no spread to go by"
    if decided:
        tested = corrected_text(facts.p_adjusted, terms.family)
        return f"{text}; sign-flip, {tested}{_size_note(facts, terms)}{looks_note(terms)}"
    text += f"; {seeds} seeds cannot decide by sign-flip"
    if facts.p_value is not None:
        text += f" ({format_p(facts.p_value)})"
    enough = paired.seeds_for_sign_flip(terms.family, terms.alpha)
    if enough > seeds:
        text += f"; {format_plural(enough - seeds, 'more seed')} could"
    return text + looks_note(terms)


def find_unlearned(cell: CellResults, name: str) -> tuple[str, bool]:
    """Whether a cell's networks learned anything at all: a warning, '' where they did, and whether it is about all.

    A network that always gives one answer has at best the error of the commonest class (`majority_error`). One is taken
    to have learned nothing when its error is not below that by more than the chance of a test part of this size, two
    binomial standard errors: on 360 images and ten equal classes 3.2 percentage points. Always by top-1.
    """
    errors, majorities, images, collapsed = [], [], [], []
    for seed, trial in cell.records_by_seed().items():
        error, majority = trial.test_top1_error, trial.majority_error
        if trial.status == "completed" and error is not None and majority is not None:
            errors.append(error)
            majorities.append(majority)
            images.append(trial.test_examples or 0)
            if error >= _chance_level(majority, images[-1]):
                collapsed.append(seed)
    if not errors:
        return "", False
    mean, majority = sum(errors) / len(errors), sum(majorities) / len(majorities)
    text = f"no better than always answering the commonest class ({format_percent(majority)} % error)"
    if mean >= _chance_level(majority, min(images)):
        text = f"{name} is {text}: its mean error is {format_percent(mean)} %"
        if mean < majority:
            text += f", within the chance of {min(images)} test images"
        return text, True
    if not collapsed:
        return "", False
    verb = "is" if len(collapsed) == 1 else "are"
    some = f"{len(collapsed)} of {format_plural(len(errors), 'network')} of {name} {verb}"
    return f"{some} {text}: seed {format_ranges(collapsed)}", False


def _chance_level(majority: float, images: int) -> float:
    if not images:
        return majority
    return majority - _BY_CHANCE * math.sqrt(majority * (1 - majority) / images)


def nothing_to_say(names: Sequence[str]) -> str:
    """What EQUIVALENT is worth where networks learned nothing."""
    return f"; but {' and '.join(names)} learned nothing, so this says nothing of the variant"
