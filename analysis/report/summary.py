"""Page one: what helps, what doesn't and what isn't known yet, in plain English, from the findings of a study."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from analysis import formatting
from analysis.report.run_links import Evidence
from analysis.verdicts.model import RULINGS, Ruling, VariantVerdict, Verdict
from analysis.verdicts.results import StudyResults
from suite.core.specs import CellId

UNDECIDED: tuple[Ruling, ...] = ("NOT ENOUGH EVIDENCE", "SINGLE RUN")
MANY = 12  # comparisons; more of them are folded by variant, below a map of all

SECTIONS: tuple[tuple[str, tuple[Ruling, ...]], ...] = (
    ("What helps", ("HELPS",)),
    ("What hurts", ("HURTS",)),
    ("What helps in one place and hurts in another", ("MIXED",)),
    ("What changes too little to matter", ("EQUIVALENT",)),
    ("What isn't known yet", UNDECIDED),
    ("What can't be compared", ("NOT COMPARABLE",)),
)
_LEADS: dict[Ruling, str] = {
    "HELPS": "helps",
    "HURTS": "hurts",
    "MIXED": "helps in one place and hurts in another",
    "EQUIVALENT": "changes the error by too little to matter",
    "NOT ENOUGH EVIDENCE": "is not decided",
    "SINGLE RUN": "is not decided: one or two runs are no test",
    "NOT COMPARABLE": "can't be compared",
}
_MEANINGS: dict[Ruling, str] = _LEADS | {
    "EQUIVALENT": "changes too little to matter",
    "NOT ENOUGH EVIDENCE": "not decided, which a large number can be too where the seeds scatter widely",
    "SINGLE RUN": "one or two runs alone",
}
_IN_GENERAL: dict[Ruling, str] = _LEADS | {
    "EQUIVALENT": "taken together, too little changes to matter",
    "NOT ENOUGH EVIDENCE": "can't be said yet",
    "SINGLE RUN": "can't be said: one or two runs are no test",
}
_SIGNS = dict(zip(RULINGS, "▲▼◆≈?1×", strict=True))


class _Outcome(NamedTuple):
    """What comparisons are counted by; its words on a tile, behind a count, and after one or many in a sentence."""

    rulings: tuple[Ruling, ...]
    tile: str
    word: str
    one: str
    many: str


_SMALL = "too small to matter"
_OUTCOMES = (
    _Outcome(("HELPS",), "helps", "help", "helps", "help"),
    _Outcome(("HURTS",), "hurts", "hurt", "hurts", "hurt"),
    _Outcome(("EQUIVALENT",), _SMALL, _SMALL, "changes too little to matter", "change too little to matter"),
    _Outcome(UNDECIDED, "not decided yet", "not decided", "is not decided", "are not decided"),
    _Outcome(("NOT COMPARABLE",), *["can't be compared"] * 4),
)


def select_verdicts(verdicts: Iterable[Verdict], *rulings: Ruling) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.verdict in rulings]


def headline(verdicts: Sequence[Verdict]) -> str:
    """`Of 5 comparisons with a baseline, 1 helps, 1 hurts, 3 are not decided.`"""
    if not verdicts:
        return "No variant was compared with a baseline."
    if len(verdicts) == 1:
        verdict = verdicts[0]
        return f"{verdict.label} on {verdict.dataset} / {verdict.backbone} {_LEADS[verdict.verdict]}."
    parts = []
    for outcome in _OUTCOMES:
        members = select_verdicts(verdicts, *outcome.rulings)
        if len(members) == 1:
            parts.append(f"1 {outcome.one}{_by_too_little(members)}")
        elif members:
            parts.append(f"{len(members)} {outcome.many}{_by_too_little(members)}")
    return f"Of {formatting.format_plural(len(verdicts), 'comparison')} with a baseline, {', '.join(parts)}."


def _by_too_little(verdicts: Sequence[Verdict]) -> str:
    """` (1 of them by too little to matter)`, where there are such."""
    small = sum(verdict.too_small for verdict in verdicts)
    if not small:
        return ""
    return f" ({small} of them by too little to matter)" if len(verdicts) > 1 else " (by too little to matter)"


def tiles(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The counts of the headline, one tile each; none for a single comparison."""
    if len(verdicts) < 2:
        return []
    counts = _count_outcomes([verdict.verdict for verdict in verdicts])
    return [{"name": outcome.tile, "ruling": outcome.rulings[0], "count": count} for outcome, count in counts.items()]


def _count_outcomes(rulings: Sequence[Ruling]) -> dict[_Outcome, int]:
    return {outcome: sum(map(rulings.count, outcome.rulings)) for outcome in _OUTCOMES}


def _describe_counts(rulings: Sequence[Ruling]) -> str:
    """`of 27 comparisons, 7 help, 20 not decided`."""
    parts = [f"of {formatting.format_plural(len(rulings), 'comparison')}"]
    parts += [f"{count} {outcome.word}" for outcome, count in _count_outcomes(rulings).items() if count]
    return ", ".join(parts)


def sections(items: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Items under the heading of their verdict, without empty headings."""
    filled = []
    for name, rulings in SECTIONS:
        members = [item for item in items if item["ruling"] in rulings]
        if members:
            filled.append((name, members))
    return filled


def comparisons(findings: StudyResults, evidence: Evidence) -> list[dict[str, Any]]:
    """One item per cell, in the order of the plan."""
    items = []
    errors = _mean_errors(findings)
    for verdict in findings.verdicts:
        told = ""
        if verdict.cell_id in errors and verdict.mean_difference is not None:
            without, with_it = map(formatting.format_percent, errors[verdict.cell_id])
            told = f"error {without} % without it, {with_it} % with it"
        item = {
            "ruling": verdict.verdict,
            "label": verdict.label,
            "place": f"{verdict.dataset} / {verdict.backbone}",
            "lead": _LEADS[verdict.verdict],
            "told": told,
            "reason": verdict.reason,
            "warnings": verdict.warnings,
            "anchor": evidence.anchor(verdict),
            "sign": _SIGNS[verdict.verdict],
            "shown": formatting.format_points(verdict.mean_difference),
        }
        items.append(item)
    return items


def _mean_errors(findings: StudyResults) -> dict[CellId, tuple[float, float]]:
    """Mean test error of baseline and cell over the seeds that were compared."""
    metric, means = findings.records.metric, {}
    for group in findings.groups:
        if group.baseline is None:
            continue
        reference = group.baseline.errors_by_seed(metric)
        for cell in group.cells:
            verdict = findings.by_cell.get(cell.cell_id)
            if verdict is None or not verdict.differences:
                continue
            seeds = dict(verdict.differences).keys()
            errors = cell.errors_by_seed(metric)
            if seeds <= errors.keys() and seeds <= reference.keys():
                without = statistics.fmean(reference[seed] for seed in seeds)
                means[cell.cell_id] = without, statistics.fmean(errors[seed] for seed in seeds)
    return means


def across(findings: StudyResults) -> list[dict[str, Any]]:
    """One item per variant, where there are several datasets; its verdicts per backbone are in `parts`."""
    items: list[dict[str, Any]] = []
    if not findings.several_datasets:
        return items
    parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for variant in findings.variants:
        item = _variant(variant, findings)
        if variant.backbone:
            parts[variant.label].append(item)
        else:
            items.append(item | {"parts": parts[variant.label]})
    return items


def _variant(variant: VariantVerdict, findings: StudyResults) -> dict[str, Any]:
    rulings = []
    for verdict in findings.verdicts:
        if verdict.label == variant.label and variant.backbone in ("", verdict.backbone):
            rulings.append(verdict.verdict)
    return {
        "ruling": variant.verdict,
        "label": variant.label,
        "place": variant.backbone,
        "tried": _describe_counts(rulings),
        "general": _IN_GENERAL[variant.verdict],
        "reason": variant.reason,
        "warnings": variant.warnings,
        "parts": (),
    }


def by_variant(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The comparisons of each variant: how many of which verdict, and the items by heading, for folding."""
    by_label: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        by_label[item["label"]].append(item)
    variants = []
    for label, members in by_label.items():
        told = _describe_counts([item["ruling"] for item in members])
        variants.append({"label": label, "told": told, "sections": sections(members)})
    return variants


def overview(items: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Every comparison at a glance: a row per dataset and backbone, a column per variant; None for a single row."""
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    labels: dict[str, None] = {}  # a set in order
    legend: dict[str, str] = {}
    for item in items:
        rows[item["place"]][item["label"]] = item
        labels[item["label"]] = None
        legend[item["sign"]] = f"{item['sign']} {_MEANINGS[item['ruling']]}"
    if len(rows) < 2:
        return None
    return {"labels": labels, "rows": rows, "legend": ", ".join(legend.values())}


def notices(findings: StudyResults) -> list[str]:
    """What a reader must know before believing anything below."""
    profile, notes = findings.records.study.profile, []
    if profile:
        holds = "What it finds holds for short training, not for a paper's protocol."
        notes.append(f"Profile {profile}: a shortened run. {holds}")
    sentences, warned = [], 0
    for verdict in findings.verdicts:
        warned += bool(verdict.warnings)
        for warning in verdict.warnings:
            sentences.append(f"{verdict.label} on {verdict.dataset} / {verdict.backbone}: {warning}")
    if len(sentences) > 2:
        sentences[2:] = [f"and {len(sentences) - 2} more"]
    if warned:
        verb = "carries a warning" if warned == 1 else "carry warnings"
        notes.append(f"{formatting.format_plural(warned, 'comparison')} {verb}: {'; '.join(sentences)}.")
    return notes
