"""The sentences of the verdicts on variants across datasets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.formatting import format_interval, format_plural, format_points, format_size, p_is
from analysis.stats import paired
from analysis.verdicts.cell_reasons import corrected_text, looks_note, too_scattered
from analysis.verdicts.model import RULINGS, Ruling, TestSettings, VariantVerdict, Verdict

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


def write_reason(facts: VariantVerdict, verdict: Ruling, cells: Sequence[Verdict], terms: TestSettings) -> str:
    """The reason of a verdict on a variant: its cells, its mean over datasets, and both p-values in words."""
    parts = [_count_verdicts(cells)]
    count = len(facts.datasets)
    if not count:
        return f"{parts[0]}; no dataset to compare on: {'; '.join(facts.left_out)}"
    if verdict == "MIXED":
        parts.append("it depends on where")
    if facts.p_like_these is None:
        parts.append(f"mean {format_points(facts.mean_difference)} pp" if count > 1 else "")
        parts.append(f"{format_plural(count, 'dataset')}: no claim beyond {'it' if count == 1 else 'them'}")
    else:
        parts += [
            _mean_text(facts, terms) + _conclusion_text(facts, verdict, terms),
            _fixed_datasets_text(facts),
            _random_datasets_text(facts, terms),
        ]
    if facts.left_out:
        parts.append(f"left out: {', '.join(place.partition(': ')[0] for place in facts.left_out)}")
    return "; ".join(filter(None, parts)) + looks_note(terms)


def _count_verdicts(cells: Sequence[Verdict]) -> str:
    """`helps on 2 of 5 datasets, undecided on 3`."""
    counted = {ruling: sum(one.verdict == ruling for one in cells) for ruling in RULINGS}
    several = len({one.backbone for one in cells}) > 1
    noun = "cell" if several else "dataset"
    said = [(ruling, number) for ruling, number in counted.items() if number]
    first = "in" if several else "on"
    parts = [f"{_DID[ruling]} {first} {number}" for ruling, number in said]
    return ", ".join([f"{parts[0]} of {format_plural(len(cells), noun)}", *parts[1:]])


def _mean_text(facts: VariantVerdict, terms: TestSettings) -> str:
    if facts.test == "identity":
        return f"identical on every dataset ({len(facts.datasets)})"
    between = f" [{format_interval(facts.ci_low, facts.ci_high)}]" if facts.ci_low is not None else ""
    tests = [f"{facts.test} test", corrected_text(facts.p_adjusted, terms.family, "variant")]
    if len(facts.datasets) < BY_RANKS:
        tests.append("low power")
    elif facts.sign_flip_p is not None:
        tests.append(f"sign-flip {p_is(facts.sign_flip_p)}")
    mean = f"mean {format_points(facts.mean_difference)} pp{between}"
    return f"{mean} over {len(facts.datasets)} datasets ({', '.join(tests)})"


def _conclusion_text(facts: VariantVerdict, verdict: Ruling, terms: TestSettings) -> str:
    """What follows for datasets like these."""
    within = f"within ±{format_size(terms.rope)} pp"
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
    told = f": not enough evidence for datasets like these{_enough_text(facts, terms)}"
    return f"{told}; {scattered}" if scattered else told


def _enough_text(facts: VariantVerdict, terms: TestSettings) -> str:
    count, least = len(facts.datasets), paired.seeds_for_sign_flip(terms.family, terms.alpha)
    if BY_RANKS <= count < least:
        variants = format_plural(terms.family, "variant")
        return f" ({count} datasets cannot reach HELPS or HURTS over {variants}, {least} can)"
    if facts.smallest_effect is None or (facts.p_adjusted or 0.0) < terms.alpha:
        return ""
    return f" ({count} datasets can only see a mean of >= {format_size(facts.smallest_effect)} pp)"


def _fixed_datasets_text(facts: VariantVerdict) -> str:
    return f"on these datasets {p_is(facts.p_these)}" if facts.p_these is not None and facts.test != "identity" else ""


def _random_datasets_text(facts: VariantVerdict, terms: TestSettings) -> str:
    if facts.bayes is None:
        return ""
    worse, within, better = facts.bayes
    return (
        f"Bayesian signed-rank: P(worse) {worse:.2f}, P(within ±{format_size(terms.rope)} pp) {within:.2f}, "
        f"P(better) {better:.2f}"
    )


def list_cautions(cells: Sequence[Verdict]) -> tuple[str, ...]:
    """Where networks learned nothing, so that a difference says nothing of the variant."""
    blank = [f"{one.dataset} / {one.backbone}" for one in cells if not one.learned]
    if not blank:
        return ()
    return (f"networks learned nothing on {', '.join(dict.fromkeys(blank))}",)
