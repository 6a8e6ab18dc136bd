"""The sentences of the verdicts on variants across datasets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.formatting import format_interval, format_p, format_plural, format_points, format_size
from analysis.stats import paired
from analysis.verdicts.cell_reasons import corrected_text, looks_note, too_scattered
from analysis.verdicts.cells import count_rulings
from analysis.verdicts.model import Ruling, TestSettings, VariantVerdict, Verdict

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
    first, count = _count_verdicts(cells), len(facts.datasets)
    if not count:
        return f"{first}; no dataset to compare on: {'; '.join(facts.left_out)}"
    parts = [first]
    if verdict == "MIXED":
        parts.append("it depends on where")
    if facts.p_like_these is not None:
        parts.append(_mean_text(facts, terms) + _conclusion_text(facts, verdict, terms))
        if facts.p_these is not None and facts.test != "identity":
            parts.append(f"on these datasets {format_p(facts.p_these)}")
        if facts.bayes is not None:
            worse, within, better = facts.bayes
            rope = format_size(terms.rope)
            bayes = f"P(worse) {worse:.2f}, P(within ±{rope} pp) {within:.2f}, P(better) {better:.2f}"
            parts.append(f"Bayesian signed-rank: {bayes}")
    elif count == 1:
        parts.append("1 dataset: no claim beyond it")
    else:
        parts.append(f"mean {format_points(facts.mean_difference)} pp; {count} datasets: no claim beyond them")
    if facts.left_out:
        parts.append(f"left out: {', '.join(place.partition(': ')[0] for place in facts.left_out)}")
    return "; ".join(parts) + looks_note(terms)


def _count_verdicts(cells: Sequence[Verdict]) -> str:
    """`helps on 2 of 5 datasets, undecided on 3`."""
    noun, preposition = "dataset", "on"
    if len({cell.backbone for cell in cells}) > 1:
        noun, preposition = "cell", "in"
    parts = [f"{_DID[ruling]} {preposition} {count}" for ruling, count in count_rulings(cells).items()]
    parts[0] += f" of {format_plural(len(cells), noun)}"
    return ", ".join(parts)


def _mean_text(facts: VariantVerdict, terms: TestSettings) -> str:
    count = len(facts.datasets)
    if facts.test == "identity":
        return f"identical on every dataset ({count})"
    text = f"mean {format_points(facts.mean_difference)} pp"
    if facts.ci_low is not None:
        text += f" [{format_interval(facts.ci_low, facts.ci_high)}]"
    text += f" over {count} datasets ({facts.test} test, {corrected_text(facts.p_adjusted, terms.family, 'variant')}"
    if count < BY_RANKS:
        return f"{text}, low power)"
    return f"{text}, sign-flip {format_p(facts.sign_flip_p)})"


def _conclusion_text(facts: VariantVerdict, verdict: Ruling, terms: TestSettings) -> str:
    """What follows for datasets like these."""
    within = f"within ±{format_size(terms.rope)} pp"
    if verdict == "MIXED":
        return ""
    if verdict in ("HELPS", "HURTS"):
        text = f": {_DID[verdict]} on datasets like these"
        if facts.ci_low is not None and facts.ci_high is not None and max(-facts.ci_low, facts.ci_high) < terms.rope:
            text += f", too small to matter ({within})"
        return text
    if verdict == "EQUIVALENT":
        text = f": {within} on datasets like these"
        if facts.equivalence_p is not None:
            text += f" (equivalence test, TOST, {format_p(facts.equivalence_p)})"
        if facts.warnings:
            text += "; but networks learned nothing there, so this says nothing of the variant"
        return text
    text = f": not enough evidence for datasets like these{_enough_text(facts, terms)}"
    scattered = too_scattered(np.array(facts.differences), terms.rope, BY_RANKS, "datasets")
    return "; ".join(filter(None, (text, scattered)))


def _enough_text(facts: VariantVerdict, terms: TestSettings) -> str:
    count, least = len(facts.datasets), paired.seeds_for_sign_flip(terms.family, terms.alpha)
    if BY_RANKS <= count < least:
        variants = format_plural(terms.family, "variant")
        return f" ({count} datasets cannot reach HELPS or HURTS over {variants}, {least} can)"
    if facts.smallest_effect is None or (facts.p_adjusted or 0.0) < terms.alpha:
        return ""
    return f" ({count} datasets can only see a mean of >= {format_size(facts.smallest_effect)} pp)"


def list_cautions(cells: Sequence[Verdict]) -> tuple[str, ...]:
    """Where networks learned nothing, so that a difference says nothing of the variant."""
    unlearned = [f"{cell.dataset} / {cell.backbone}" for cell in cells if not cell.learned]
    if not unlearned:
        return ()
    return (f"networks learned nothing on {', '.join(unlearned)}",)
