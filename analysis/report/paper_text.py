"""The study as paragraphs ready for a paper: design, test, results with numbers, limits. Plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis import formatting
from analysis.report.summary import UNDECIDED
from analysis.verdicts.model import VariantVerdict, Verdict
from analysis.verdicts.results import StudyResults

_FEW = 6  # results told one by one; more are summarised by variant
_NAMED = 8  # names in a list; more are counted
_METRIC = {"test_top1_error": "top-1", "test_top5_error": "top-5"}


def paragraphs(findings: StudyResults) -> list[str]:
    """Design, test, results and limits, a paragraph each."""
    if not findings.verdicts:
        return [_design(findings), "No comparison with a baseline was planned or recorded, so there is no result."]
    return [_design(findings), _test(findings), " ".join(_results(findings)), _limits(findings)]


# -- design


def _design(findings: StudyResults) -> str:
    cells = [cell for group in findings.groups for cell in group.cells]
    variants = _distinct(cell.label for cell in cells if not cell.is_baseline)
    datasets, backbones = _distinct(cell.dataset for cell in cells), _distinct(cell.backbone for cell in cells)
    if not cells:
        return "The study has no cells."
    what = _named(variants, "variant") if variants else "nothing"
    sentences = [
        f"We compared {what} with the unmodified network (the baseline) on {_named(datasets, 'dataset')}, with "
        f"{_named(backbones, 'backbone')}: {formatting.format_plural(len(findings.verdicts), 'comparison')}."
    ]
    sentences.append(_seeds(findings))
    searched = sorted({len(cell.search) for cell in cells if not cell.refused})
    if searched and searched[-1]:
        sentences.append(
            f"Hyperparameters were chosen on validation data, in {_range(searched)} search trials for each cell."
        )
    trials = [trial for cell in cells for trial in cell.confirm if trial.status == "completed"]
    epochs = sorted({trial.epochs for trial in trials if trial.epochs is not None})
    if epochs:
        sentences.append(f"Training took {_range(epochs)} epochs.")
    if trials and all(trial.test_reads == 1 for trial in trials):
        sentences.append("The test set was read once per run, at the epoch that was best on validation data.")
    return " ".join(sentence for sentence in sentences if sentence)


def _seeds(findings: StudyResults) -> str:
    counts = sorted({one.seeds for one in findings.verdicts if one.verdict != "NOT COMPARABLE"})
    if not counts:
        return ""
    rests = f"Each comparison rests on {_range(counts)} paired {'seed' if counts == [1] else 'seeds'}"
    if findings.records.source.get("files"):  # results from elsewhere: what a seed fixed there isn't known
        return f"{rests}."
    return (
        f"{rests}: baseline and variant shared the data split, the data order, the augmentation and the backbone's "
        "initial weights."
    )


# -- test


def _test(findings: StudyResults) -> str:
    records = findings.records
    family = findings.family
    tests = _distinct(one.test for one in findings.verdicts if one.test and one.test != "identity")
    looks = records.study.looks
    split = (
        f" (the study's alpha of {records.alpha * looks:.3g}, split over {looks} planned looks)" if looks > 1 else ""
    )
    foreign = records.source.get("files")
    small = "count as too small to matter" if foreign else "had been declared too small to matter before the study ran"
    by = f"two-sided ({_and(tests)})" if tests else "by paired tests, of which none could be made"
    return (
        f"The measure is test {_METRIC[records.metric]} error. Paired differences (baseline minus variant, so that "
        f"positive means the variant is better) were tested {by}, with Holm's correction over "
        f"{'the one comparison' if family == 1 else f'all {family} comparisons'} of the study at alpha = "
        f"{records.alpha:.3g}{split}. Intervals are {formatting.format_level(records.alpha)} t intervals of "
        "the mean difference, "
        f"without that correction. Differences within ±{formatting.format_size(records.rope)} percentage points (pp) "
        f"{small}; "
        "equivalence was tested by two one-sided t tests."
    )


# -- results


def _results(findings: StudyResults) -> Iterable[str]:
    verdicts, level = findings.verdicts, formatting.format_level(findings.records.alpha)
    decided = [one for one in verdicts if one.verdict in ("HELPS", "HURTS")]
    if not decided:
        yield "No comparison reached significance, which is no evidence that the variants have no effect."
    elif len(decided) <= _FEW:
        yield from (_one(one, level) for one in decided)
    else:
        yield from _summarised(verdicts)
    yield from _equivalent(verdicts)
    yield from _undecided(verdicts, level)
    whole = [one for one in findings.variants if not one.backbone] or findings.variants
    yield from (_across(one, level) for one in whole if len(one.datasets) > 1)


def _one(one: Verdict, level: str) -> str:
    verb = "lowered" if one.verdict == "HELPS" else "raised"
    small = ", too small to matter" if one.too_small else ""
    between = ""
    if one.ci_low is not None and one.ci_high is not None:
        ends = sorted(map(abs, (one.ci_low, one.ci_high)))  # of one sign, or it were undecided
        between = f"{level} CI {formatting.format_percent(ends[0])} to {formatting.format_percent(ends[1])} pp"
    numbers = [between, f"adjusted {formatting.p_is(one.p_adjusted)}", f"n = {one.seeds} seeds"]
    inside = ", ".join(part for part in numbers if part)
    mean = formatting.format_percent(abs(one.mean_difference or 0.0))
    return f"On {one.dataset} with {one.backbone}, {one.label} {verb} the error by {mean} pp ({inside}){small}."


def _summarised(verdicts: Sequence[Verdict]) -> Iterable[str]:
    """A sentence per variant: in how many of its comparisons it helps and hurts, and by how much."""
    for label in _distinct(one.label for one in verdicts):
        own = [one for one in verdicts if one.label == label]
        parts = []
        for ruling, verb in (("HELPS", "lowered"), ("HURTS", "raised")):
            means = [abs(one.mean_difference or 0.0) for one in own if one.verdict == ruling]
            if means:
                parts.append(f"{verb} the error in {len(means)} (by {_between(means)} pp)")
        told = " and ".join(parts) or "reached significance in none"
        yield f"Of its {formatting.format_plural(len(own), 'comparison')}, {label} {told}."


def _equivalent(verdicts: Sequence[Verdict]) -> Iterable[str]:
    alike = [one for one in verdicts if one.verdict == "EQUIVALENT"]
    if alike:
        named = [_place(one) for one in alike]
        where = _and(named) if len(named) <= _NAMED else f"{len(named)} comparisons"
        yield f"Equivalent to the baseline, within the declared margin: {where}."


def _undecided(verdicts: Sequence[Verdict], level: str) -> Iterable[str]:
    unknown = [one for one in verdicts if one.verdict in UNDECIDED]
    if not unknown:
        return
    if len(unknown) <= _FEW:
        told = "; ".join(_open(one, level) for one in unknown)
        yield f"Not decided: {told}."
    else:
        yield f"{len(unknown)} comparisons were not decided; this does not show that the variants have no effect there."
    sees = [one.smallest_effect for one in unknown if one.smallest_effect is not None]
    if sees:
        yield f"With power 0.8 these could have seen differences of {_between(sees)} pp or more."


def _open(one: Verdict, level: str) -> str:
    if one.mean_difference is None:
        return _place(one)
    between = f", {level} CI {_signed(one)} pp" if one.ci_low is not None else ""
    return f"{_place(one)} ({formatting.format_points(one.mean_difference)} pp{between}, n = {one.seeds})"


def _across(one: VariantVerdict, level: str) -> str:
    place = f"Over {formatting.format_plural(len(one.datasets), 'dataset')}" + (
        f" with {one.backbone}" if one.backbone else ""
    )
    between = f"{level} CI {_signed(one)} pp" if one.ci_low is not None else ""
    tests = [
        f"on these datasets {formatting.p_is(one.p_these)}" if one.p_these is not None else "",
        f"for datasets like these adjusted {formatting.p_is(one.p_adjusted)}" if one.p_adjusted is not None else "",
    ]
    inside = "; ".join(part for part in (between, *tests) if part)
    mean = formatting.format_points(one.mean_difference) + " pp on average" + (f" ({inside})" if inside else "")
    return f"{place}, {one.label} differed by {mean}: {one.verdict.lower()}."


# -- limits


def _limits(findings: StudyResults) -> str:
    records, verdicts = findings.records, findings.verdicts
    sentences = []
    refused = [one for one in verdicts if one.verdict == "NOT COMPARABLE"]
    if refused:
        named = f": {_and([_place(one) for one in refused])}" if len(refused) <= _NAMED else ""
        sentences.append(
            f"{formatting.format_plural(len(refused), 'comparison')} could not be made, for budgets "
            "differed, a pair was refused "
            f"or runs were missing{named}."
        )
    lost = records.trials["status"].isin(["failed", "diverged"]).sum()
    if lost:
        sentences.append(
            f"{formatting.format_plural(int(lost), 'run')} failed or diverged; no average was taken over "
            "unequal sets of seeds."
        )
    if any(one.warnings for one in verdicts):
        warnings = _distinct(sentence for one in verdicts for sentence in one.warnings)
        more = f"; and {len(warnings) - 3} more such warnings" if len(warnings) > 3 else ""
        sentences.append(f"To be noted: {'; '.join(warnings[:3])}{more}.")
    if records.study.profile:
        sentences.append(f"The study ran under the profile {records.study.profile}, shorter than the full protocol.")
    if not records.source.get("files"):
        sentences.append("Seeds cover initialisation, data order, augmentation and dropout.")
    sentences.append("The test set is one sample, whose own chance no interval covers.")
    if not any(one.p_like_these is not None for one in findings.variants):
        sentences.append("The results hold for these datasets and networks; nothing here extends them to others.")
    return " ".join(sentences)


# -- words


def _place(one: Verdict) -> str:
    return f"{one.label} on {one.dataset} with {one.backbone}"


def _signed(one: Verdict | VariantVerdict) -> str:
    return f"{formatting.format_points(one.ci_low)} to {formatting.format_points(one.ci_high)}"


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _named(names: Sequence[str], noun: str) -> str:
    """`the dataset a`, `the datasets a and b`, `12 datasets`."""
    if len(names) > _NAMED:
        return f"{len(names)} {noun}s"
    return f"the {noun}{'s' if len(names) > 1 else ''} {_and(names)}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _range(numbers: Sequence[int]) -> str:
    """`5`, or `3 to 5`, of ascending numbers."""
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _between(fractions: Sequence[float]) -> str:
    """`0.31`, or `0.31 to 1.20`, in percentage points."""
    low, high = formatting.format_percent(min(fractions)), formatting.format_percent(max(fractions))
    return low if low == high else f"{low} to {high}"
