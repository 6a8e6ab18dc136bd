"""The sentences of the verdicts on variants across datasets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.formatting import interval, p_is, plural, points, size
from analysis.stats import paired
from analysis.verdicts.cell_reasons import corrected, looked, too_scattered
from analysis.verdicts.model import RULINGS, Ruling, Terms, VariantVerdict, Verdict

LEAST_DATASETS = 3  # below, nothing is said beyond the datasets themselves
BY_RANKS = 6  # 2/2^6 = 0.031: the first number of datasets at which Wilcoxon's test can fall below 0.05
_DID: dict[Ruling, str] = {
    "HELPS": "helps",
    "HURTS": "hurts",
    "EQUIVALENT": "equivalent",
    "NOT ENOUGH EVIDENCE": "undecided",
    "SINGLE RUN": "a single run",
    "NOT COMPARABLE": "not comparable",
}


def reason(facts: VariantVerdict, verdict: Ruling, cells: Sequence[Verdict], terms: Terms) -> str:
    """The reason of a verdict on a variant: its cells, its mean over datasets, and both p-values in words."""
    parts = [_cells(cells)]
    count = len(facts.datasets)
    if not count:
        return f"{parts[0]}; no dataset to compare on: {'; '.join(facts.left_out)}"
    if verdict == "MIXED":
        parts.append("it depends on where")
    if facts.p_like_these is None:
        parts.append(f"mean {points(facts.mean_difference)} pp" if count > 1 else "")
        parts.append(f"{plural(count, 'dataset')}: no claim beyond {'it' if count == 1 else 'them'}")
    else:
        parts += [_mean(facts, terms) + _conclusion(facts, verdict, terms), _these(facts), _further(facts, terms)]
    if facts.left_out:
        parts.append(f"left out: {', '.join(place.partition(': ')[0] for place in facts.left_out)}")
    return "; ".join(filter(None, parts)) + looked(terms)


def _cells(cells: Sequence[Verdict]) -> str:
    """`helps on 2 of 5 datasets, undecided on 3`."""
    counted = {ruling: sum(one.verdict == ruling for one in cells) for ruling in RULINGS}
    several = len({one.backbone for one in cells}) > 1
    noun = "cell" if several else "dataset"
    said = [(ruling, number) for ruling, number in counted.items() if number]
    first = "in" if several else "on"
    parts = [f"{_DID[ruling]} {first} {number}" for ruling, number in said]
    return ", ".join([f"{parts[0]} of {plural(len(cells), noun)}", *parts[1:]])


def _mean(facts: VariantVerdict, terms: Terms) -> str:
    if facts.test == "identity":
        return f"identical on every dataset ({len(facts.datasets)})"
    between = f" [{interval(facts.ci_low, facts.ci_high)}]" if facts.ci_low is not None else ""
    tests = [f"{facts.test} test", corrected(facts.p_adjusted, terms.family, "variant")]
    if len(facts.datasets) < BY_RANKS:
        tests.append("low power")
    elif facts.sign_flip_p is not None:
        tests.append(f"sign-flip {p_is(facts.sign_flip_p)}")
    return f"mean {points(facts.mean_difference)} pp{between} over {len(facts.datasets)} datasets ({', '.join(tests)})"


def _conclusion(facts: VariantVerdict, verdict: Ruling, terms: Terms) -> str:
    """What follows for datasets like these."""
    within = f"within ±{size(terms.rope)} pp"
    if verdict in ("HELPS", "HURTS"):
        inside = (
            facts.ci_low is not None and facts.ci_high is not None and max(-facts.ci_low, facts.ci_high) < terms.rope
        )
        return f": {_DID[verdict]} on datasets like these" + (f", too small to matter ({within})" if inside else "")
    if verdict == "EQUIVALENT":
        test = f" (equivalence test, TOST, {p_is(facts.equivalence_p)})" if facts.equivalence_p is not None else ""
        nothing = "; but networks learned nothing there, so this says nothing of the variant" if facts.warnings else ""
        return f": {within} on datasets like these{test}{nothing}"
    if verdict == "MIXED":
        return ""
    scattered = too_scattered(np.array(facts.differences), terms.rope, BY_RANKS, "datasets")
    told = f": not enough evidence for datasets like these{_enough(facts, terms)}"
    return f"{told}; {scattered}" if scattered else told


def _enough(facts: VariantVerdict, terms: Terms) -> str:
    count, least = len(facts.datasets), paired.seeds_for_sign_flip(terms.family, terms.alpha)
    if BY_RANKS <= count < least:
        variants = plural(terms.family, "variant")
        return f" ({count} datasets cannot reach HELPS or HURTS over {variants}, {least} can)"
    if facts.smallest_effect is None or (facts.p_adjusted or 0.0) < terms.alpha:
        return ""
    return f" ({count} datasets can only see a mean of >= {size(facts.smallest_effect)} pp)"


def _these(facts: VariantVerdict) -> str:
    return f"on these datasets {p_is(facts.p_these)}" if facts.p_these is not None and facts.test != "identity" else ""


def _further(facts: VariantVerdict, terms: Terms) -> str:
    if facts.bayes is None:
        return ""
    worse, within, better = facts.bayes
    return (
        f"Bayesian signed-rank: P(worse) {worse:.2f}, P(within ±{size(terms.rope)} pp) {within:.2f}, "
        f"P(better) {better:.2f}"
    )


def cautions(cells: Sequence[Verdict]) -> tuple[str, ...]:
    """Where networks learned nothing, so that a difference says nothing of the variant."""
    blank = [f"{one.dataset} / {one.backbone}" for one in cells if not one.learned]
    if not blank:
        return ()
    return (f"networks learned nothing on {', '.join(dict.fromkeys(blank))}",)
