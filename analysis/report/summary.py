"""Page one: what helps, what doesn't and what isn't known yet, in plain English, from the findings of a study."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analysis import formatting
from analysis.report.run_links import Evidence
from analysis.verdicts.cells import count_rulings
from analysis.verdicts.model import Ruling, VariantVerdict, Verdict
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
_SIGNS: dict[Ruling, str] = {
    "HELPS": "▲",
    "HURTS": "▼",
    "MIXED": "◆",
    "EQUIVALENT": "≈",
    "NOT ENOUGH EVIDENCE": "?",
    "SINGLE RUN": "1",
    "NOT COMPARABLE": "×",
}


def headline(verdicts: Sequence[Verdict]) -> str:
    """`Of 5 comparisons with a baseline, 1 helps, 1 hurts, 3 are not decided.`"""
    if not verdicts:
        return "No variant was compared with a baseline."
    if len(verdicts) == 1:
        return f"{verdicts[0].label} on {verdicts[0].dataset} / {verdicts[0].backbone} {_LEADS[verdicts[0].verdict]}."
    counted = count_rulings(verdicts)
    helps, hurts = (_by_too_little(verdicts, ruling) for ruling in ("HELPS", "HURTS"))
    parts = [
        (counted.get("HELPS", 0), f"helps{helps}", f"help{helps}"),
        (counted.get("HURTS", 0), f"hurts{hurts}", f"hurt{hurts}"),
        (counted.get("EQUIVALENT", 0), "changes too little to matter", "change too little to matter"),
        (sum(counted.get(ruling, 0) for ruling in UNDECIDED), "is not decided", "are not decided"),
        (counted.get("NOT COMPARABLE", 0), "can't be compared", "can't be compared"),
    ]
    told = ", ".join(f"{number} {one if number == 1 else many}" for number, one, many in parts if number)
    return f"Of {formatting.format_plural(len(verdicts), 'comparison')} with a baseline, {told}."


def _by_too_little(verdicts: Sequence[Verdict], ruling: str) -> str:
    """` (1 of them by too little to matter)`, where there are such."""
    own = [one for one in verdicts if one.verdict == ruling]
    small = sum(one.too_small for one in own)
    return f" ({f'{small} of them ' if len(own) > 1 else ''}by too little to matter)" if small else ""


def tiles(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The counts of the headline, one tile each."""
    counted = count_rulings(verdicts)
    named = zip(("helps", "hurts", "too small to matter", "not decided yet", "can't be compared"), _TALLY, strict=True)
    return [
        {"name": name, "ruling": rulings[0], "count": sum(counted.get(ruling, 0) for ruling in rulings)}
        for name, (_, rulings) in named
    ]


def sections(items: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Items under the heading of their verdict, without empty headings."""
    found = [(name, [item for item in items if item["ruling"] in rulings]) for name, rulings in SECTIONS]
    return [(name, own) for name, own in found if own]


def comparisons(findings: StudyResults, evidence: Evidence) -> list[dict[str, Any]]:
    """One item per cell, in the order of the plan."""
    errors = _mean_errors(findings)
    return [_comparison(one, errors.get(one.cell_id), evidence) for one in findings.verdicts]


def _comparison(one: Verdict, errors: tuple[float, float] | None, evidence: Evidence) -> dict[str, Any]:
    told = ""
    if errors is not None and one.mean_difference is not None:
        without, with_it = map(formatting.format_percent, errors)
        told = f"error {without} % without it, {with_it} % with it"
    return {
        "ruling": one.verdict,
        "label": one.label,
        "place": f"{one.dataset} / {one.backbone}",
        "lead": _LEADS[one.verdict],
        "told": told,
        "reason": one.reason,
        "warnings": one.warnings,
        "anchor": evidence.anchor(one),
        "sign": _SIGNS[one.verdict],
        "shown": formatting.format_points(one.mean_difference),
    }


def _mean_errors(findings: StudyResults) -> dict[CellId, tuple[float, float]]:
    """Mean test error of baseline and cell over the seeds that were compared."""
    metric, found = findings.records.metric, {}
    for group in findings.groups:
        reference = group.baseline.errors_by_seed(metric) if group.baseline else {}
        for cell in group.cells:
            one = findings.by_cell.get(cell.cell_id)
            seeds = [seed for seed, _ in one.differences] if one else []
            own = cell.errors_by_seed(metric)
            if seeds and all(seed in own and seed in reference for seed in seeds):
                means = (statistics.fmean(errors[seed] for seed in seeds) for errors in (reference, own))
                found[cell.cell_id] = (next(means), next(means))
    return found


def across(findings: StudyResults) -> list[dict[str, Any]]:
    """One item per variant, where there are several datasets; its verdicts per backbone are in `parts`."""
    variants = findings.variants
    if not findings.several_datasets:
        return []
    items = []
    for one in [one for one in variants if not one.backbone]:
        parts = [part for part in variants if part.backbone and part.label == one.label]
        items.append(_variant(one, findings) | {"parts": [_variant(part, findings) for part in parts]})
    return items


def _variant(one: VariantVerdict, findings: StudyResults) -> dict[str, Any]:
    own = [cell for cell in findings.verdicts if cell.label == one.label and one.backbone in ("", cell.backbone)]
    return {
        "ruling": one.verdict,
        "label": one.label,
        "place": one.backbone,
        "tried": f"of {formatting.format_plural(len(own), 'comparison')}, {_tallied(count_rulings(own))}",
        "general": _IN_GENERAL[one.verdict],
        "reason": one.reason,
        "warnings": one.warnings,
        "parts": (),
    }


def _tallied(counted: Mapping[Ruling, int]) -> str:
    """`7 help, 20 not decided`."""
    numbers = [(sum(counted.get(ruling, 0) for ruling in rulings), word) for word, rulings in _TALLY]
    return ", ".join(f"{number} {word}" for number, word in numbers if number)


_TALLY: tuple[tuple[str, tuple[Ruling, ...]], ...] = (
    ("help", ("HELPS",)),
    ("hurt", ("HURTS",)),
    ("too small to matter", ("EQUIVALENT",)),
    ("not decided", UNDECIDED),
    ("can't be compared", ("NOT COMPARABLE",)),
)


def by_variant(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The comparisons of each variant: how many of which verdict, and the items by heading, for folding."""
    found = []
    for label in dict.fromkeys(item["label"] for item in items):
        own = [item for item in items if item["label"] == label]
        counts = _tallied(Counter(item["ruling"] for item in own))
        told = f"of {formatting.format_plural(len(own), 'comparison')}, {counts}"
        found.append({"label": label, "told": told, "sections": sections(own)})
    return found


def overview(items: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Every comparison at a glance: a row per dataset and backbone, a column per variant; None for a single row."""
    rows: dict[str, dict[str, Any]] = {}
    for item in items:
        rows.setdefault(item["place"], {})[item["label"]] = item
    if len(rows) < 2:
        return None
    labels = list(dict.fromkeys(item["label"] for item in items))
    signs = {item["sign"]: _MEANINGS[item["ruling"]] for item in items}
    legend = ", ".join(f"{sign} {meaning}" for sign, meaning in signs.items())
    lines = [(place, [row.get(label) for label in labels]) for place, row in rows.items()]
    return {"labels": labels, "rows": lines, "legend": legend}


def notices(findings: StudyResults) -> list[str]:
    """What a reader must know before believing anything below."""
    study, found = findings.records.study, []
    if study.profile:
        holds = "What it finds holds for short training, not for a paper's protocol."
        found.append(f"Profile {study.profile}: a shortened run. {holds}")
    warned = [one for one in findings.verdicts if one.warnings]
    if warned:
        sentences = [
            f"{one.label} on {one.dataset} / {one.backbone}: {sentence}" for one in warned for sentence in one.warnings
        ]
        shown = "; ".join(sentences[:2]) + (f"; and {len(sentences) - 2} more" if len(sentences) > 2 else "")
        count = formatting.format_plural(len(warned), "comparison")
        found.append(f"{count} {'carries a warning' if len(warned) == 1 else 'carry warnings'}: {shown}.")
    return found
