"""The study as paragraphs ready for a paper: design, test, results with numbers, limits. Plain text."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from analysis import formatting
from analysis.formatting import format_plural
from analysis.report.summary import UNDECIDED, select_verdicts
from analysis.verdicts.model import Ruling, VariantVerdict, Verdict
from analysis.verdicts.results import StudyResults

_FEW = 6  # results told one by one; more are summarised by variant
_NAMED = 8  # names in a list; more are counted
_VERBS: dict[Ruling, str] = {"HELPS": "lowered", "HURTS": "raised"}
_METRIC = {"test_top1_error": "top-1", "test_top5_error": "top-5"}


def paragraphs(findings: StudyResults) -> list[str]:
    """Design, test, results and limits, a paragraph each."""
    if not findings.verdicts:
        return [_design(findings), "No comparison with a baseline was planned or recorded, so there is no result."]
    return [_design(findings), _test(findings), " ".join(_results(findings)), _limits(findings)]


# -- design


def _design(findings: StudyResults) -> str:
    cells = list(itertools.chain.from_iterable(group.cells for group in findings.groups))
    if not cells:
        return "The study has no cells."
    variants = [cell.label for cell in cells if not cell.is_baseline]
    compared = _list_names(variants, "variant") if variants else "nothing"
    datasets = _list_names([group.dataset for group in findings.groups], "dataset")
    backbones = _list_names([group.backbone for group in findings.groups], "backbone")
    sentences = [
        f"We compared {compared} with the unmodified network (the baseline) on {datasets}, with {backbones}: "
        f"{format_plural(len(findings.verdicts), 'comparison')}."
    ]
    sentences += _seeds(findings)
    searches = [len(cell.search) for cell in cells if not cell.refused]
    if any(searches):
        trials = _format_range(searches)
        sentences.append(f"Hyperparameters were chosen on validation data, in {trials} search trials for each cell.")
    completed = [trial for cell in cells for trial in cell.confirm if trial.status == "completed"]
    epochs = [trial.epochs for trial in completed if trial.epochs is not None]
    if epochs:
        sentences.append(f"Training took {_format_range(epochs)} epochs.")
    if completed and all(trial.test_reads == 1 for trial in completed):
        sentences.append("The test set was read once per run, at the epoch that was best on validation data.")
    return " ".join(sentences)


def _seeds(findings: StudyResults) -> Iterator[str]:
    counts = [verdict.seeds for verdict in findings.verdicts if verdict.verdict != "NOT COMPARABLE"]
    if not counts:
        return
    noun = "seed" if set(counts) == {1} else "seeds"
    sentence = f"Each comparison rests on {_format_range(counts)} paired {noun}"
    if not findings.records.source.get("files"):  # results from elsewhere: what a seed fixed there isn't known
        sentence += (
            ": baseline and variant shared the data split, the data order, the augmentation and the backbone's "
            "initial weights"
        )
    yield f"{sentence}."


# -- test


def _test(findings: StudyResults) -> str:
    records, family, looks = findings.records, findings.family, findings.records.study.looks
    tests = dict.fromkeys(verdict.test for verdict in findings.verdicts if verdict.test not in ("", "identity"))
    method = f"two-sided ({_join_names(list(tests))})" if tests else "by paired tests, of which none could be made"
    comparisons = "the one comparison" if family == 1 else f"all {family} comparisons"
    split = ""
    if looks > 1:
        split = f" (the study's alpha of {records.alpha * looks:.3g}, split over {looks} planned looks)"
    small = "had been declared too small to matter before the study ran"
    if records.source.get("files"):
        small = "count as too small to matter"
    return (
        f"The measure is test {_METRIC[records.metric]} error. Paired differences (baseline minus variant, so that "
        f"positive means the variant is better) were tested {method}, with Holm's correction over {comparisons} of "
        f"the study at alpha = {records.alpha:.3g}{split}. Intervals are {formatting.format_level(records.alpha)} t "
        "intervals of the mean difference, without that correction. Differences within "
        f"±{formatting.format_size(records.rope)} percentage points (pp) {small}; equivalence was tested by two "
        "one-sided t tests."
    )


# -- results


def _results(findings: StudyResults) -> Iterator[str]:
    verdicts, level = findings.verdicts, formatting.format_level(findings.records.alpha)
    decided = select_verdicts(verdicts, "HELPS", "HURTS")
    if not decided:
        yield "No comparison reached significance, which is no evidence that the variants have no effect."
    elif len(decided) <= _FEW:
        for verdict in decided:
            yield _tell_decided(verdict, level)
    else:
        yield from _summarise_variants(verdicts)
    equivalent = select_verdicts(verdicts, "EQUIVALENT")
    if equivalent:
        where = f"{len(equivalent)} comparisons"
        if len(equivalent) <= _NAMED:
            where = _join_names(list(map(_place, equivalent)))
        yield f"Equivalent to the baseline, within the declared margin: {where}."
    yield from _undecided(verdicts, level)
    over_all = [variant for variant in findings.variants if not variant.backbone]
    for variant in over_all or findings.variants:
        if len(variant.datasets) > 1:
            yield _tell_variant(variant, level)


def _tell_decided(verdict: Verdict, level: str) -> str:
    small = ", too small to matter" if verdict.too_small else ""
    mean = formatting.format_percent(abs(verdict.mean_difference or 0.0))
    numbers = f"adjusted {formatting.format_p(verdict.p_adjusted)}, n = {verdict.seeds} seeds"
    if verdict.ci_low is not None and verdict.ci_high is not None:
        low, high = sorted(map(abs, (verdict.ci_low, verdict.ci_high)))  # of one sign, or it were undecided
        numbers = f"{level} CI {formatting.format_percent(low)} to {formatting.format_percent(high)} pp, {numbers}"
    place = f"On {verdict.dataset} with {verdict.backbone}"
    return f"{place}, {verdict.label} {_VERBS[verdict.verdict]} the error by {mean} pp ({numbers}){small}."


def _summarise_variants(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """A sentence per variant: in how many of its comparisons it helps and hurts, and by how much."""
    by_label: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_label[verdict.label].append(verdict)
    for label, members in by_label.items():
        parts = []
        for ruling, verb in _VERBS.items():
            means = [abs(verdict.mean_difference or 0.0) for verdict in select_verdicts(members, ruling)]
            if means:
                parts.append(f"{verb} the error in {len(means)} (by {_format_between(means)} pp)")
        effects = " and ".join(parts) or "reached significance in none"
        yield f"Of its {format_plural(len(members), 'comparison')}, {label} {effects}."


def _undecided(verdicts: Sequence[Verdict], level: str) -> Iterator[str]:
    undecided = select_verdicts(verdicts, *UNDECIDED)
    if not undecided:
        return
    if len(undecided) <= _FEW:
        yield f"Not decided: {'; '.join(_tell_undecided(verdict, level) for verdict in undecided)}."
    else:
        count = f"{len(undecided)} comparisons were not decided"
        yield f"{count}; this does not show that the variants have no effect there."
    effects = [verdict.smallest_effect for verdict in undecided if verdict.smallest_effect is not None]
    if effects:
        yield f"With power 0.8 these could have seen differences of {_format_between(effects)} pp or more."


def _tell_undecided(verdict: Verdict, level: str) -> str:
    if verdict.mean_difference is None:
        return _place(verdict)
    numbers = [f"{formatting.format_points(verdict.mean_difference)} pp", *_interval(verdict, level)]
    return f"{_place(verdict)} ({', '.join(numbers)}, n = {verdict.seeds})"


def _tell_variant(variant: VariantVerdict, level: str) -> str:
    place = f"Over {format_plural(len(variant.datasets), 'dataset')}"
    if variant.backbone:
        place += f" with {variant.backbone}"
    numbers = list(_interval(variant, level))
    if variant.p_these is not None:
        numbers.append(f"on these datasets {formatting.format_p(variant.p_these)}")
    if variant.p_adjusted is not None:
        numbers.append(f"for datasets like these adjusted {formatting.format_p(variant.p_adjusted)}")
    mean = f"{formatting.format_points(variant.mean_difference)} pp on average"
    if numbers:
        mean += f" ({'; '.join(numbers)})"
    return f"{place}, {variant.label} differed by {mean}: {variant.verdict.lower()}."


# -- limits


def _limits(findings: StudyResults) -> str:
    records, verdicts = findings.records, findings.verdicts
    sentences = []
    refused = list(map(_place, select_verdicts(verdicts, "NOT COMPARABLE")))
    if refused:
        places = f": {_join_names(refused)}" if len(refused) <= _NAMED else ""
        sentences.append(
            f"{format_plural(len(refused), 'comparison')} could not be made, for budgets differed, a pair was refused "
            f"or runs were missing{places}."
        )
    lost = int(records.trials["status"].isin(["failed", "diverged"]).sum())
    if lost:
        runs = format_plural(lost, "run")
        sentences.append(f"{runs} failed or diverged; no average was taken over unequal sets of seeds.")
    warnings = list(dict.fromkeys(itertools.chain.from_iterable(verdict.warnings for verdict in verdicts)))
    if len(warnings) > 3:
        warnings[3:] = [f"and {len(warnings) - 3} more such warnings"]
    if warnings:
        sentences.append(f"To be noted: {'; '.join(warnings)}.")
    if records.study.profile:
        sentences.append(f"The study ran under the profile {records.study.profile}, shorter than the full protocol.")
    if not records.source.get("files"):
        sentences.append("Seeds cover initialisation, data order, augmentation and dropout.")
    sentences.append("The test set is one sample, whose own chance no interval covers.")
    if all(variant.p_like_these is None for variant in findings.variants):
        sentences.append("The results hold for these datasets and networks; nothing here extends them to others.")
    return " ".join(sentences)


# -- words


def _place(verdict: Verdict) -> str:
    return f"{verdict.label} on {verdict.dataset} with {verdict.backbone}"


def _interval(verdict: Verdict | VariantVerdict, level: str) -> Iterator[str]:
    if verdict.ci_low is not None:
        low, high = formatting.format_points(verdict.ci_low), formatting.format_points(verdict.ci_high)
        yield f"{level} CI {low} to {high} pp"


def _list_names(names: Sequence[str], noun: str) -> str:
    """`the dataset a`, `the datasets a and b`, `12 datasets`; each name once."""
    distinct = list(dict.fromkeys(names))
    if len(distinct) > _NAMED:
        return f"{len(distinct)} {noun}s"
    plural = "s" if len(distinct) > 1 else ""
    return f"the {noun}{plural} {_join_names(distinct)}"


def _join_names(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _format_range(numbers: Sequence[int]) -> str:
    """`5`, or `3 to 5`."""
    return _join_ends(str(min(numbers)), str(max(numbers)))


def _format_between(fractions: Sequence[float]) -> str:
    """`0.31`, or `0.31 to 1.20`, in percentage points."""
    return _join_ends(formatting.format_percent(min(fractions)), formatting.format_percent(max(fractions)))


def _join_ends(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
