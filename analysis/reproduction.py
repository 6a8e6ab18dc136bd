"""A published table beside our own results: per row the printed value, ours, both gains, and what that says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis import formats
from analysis.leaderboard import leaderboard
from analysis.publications import PublishedRow, PublishedTable
from analysis.select import Records
from analysis.verdicts import Verdict, judge
from suite.specs import BASELINE, Component, settings_label

_METRICS = {"test_top1_error": ("top1_error", "accuracy"), "test_top5_error": ("top5_error",)}


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """One row. Errors and gains in percent and percentage points, positive where the variant is better.

    Attributes:
        published, published_gain: the printed error, and the printed baseline's minus it; None: not printed.
        ours, half_width: our mean test error and half its interval; None: not run, or over an unequal set of seeds.
        gain, gain_half_width: our paired gain over our baseline.
        outcome: reproduced, direction only, contradicted, not enough evidence, ... (`_outcome`).
    """

    model: str
    cell: str
    published: float | None
    published_gain: float | None
    ours: float | None = None
    half_width: float | None = None
    gain: float | None = None
    gain_half_width: float | None = None
    seeds: int = 0
    outcome: str = "not run"


def reproduce(table: PublishedTable, records: Records) -> list[Reproduced]:
    """The table's rows in its own order; rows that nothing here corresponds to keep their published values alone.

    A cell of the records corresponds to a row when dataset, variant and its settings are the same, and the backbone's
    name is; the backbone may have further settings (a profile's smaller width), which then show in `cell`.
    """
    verdicts = {_key(one): one for one in judge(records)}
    board = leaderboard(records, list(verdicts.values()))
    return [_row(table, row, board, verdicts, records) for row in table.rows]


def _key(row: Verdict | Mapping[str, str]) -> tuple[str, str, str, str]:
    if isinstance(row, Verdict):
        return row.dataset, row.backbone, row.variant, row.settings
    return row["dataset"], row["backbone"], row["variant"], row["settings"]


def _row(
    table: PublishedTable,
    row: PublishedRow,
    board: Sequence[Mapping[str, str]],
    verdicts: Mapping[tuple[str, str, str, str], Verdict],
    records: Records,
) -> Reproduced:
    printed = _error(table, row, records.metric)
    gain = _published_gain(table, row, printed, records.metric)
    candidates = [ours for ours in board if _corresponds(row, ours, records.study.get("stands_for") or {})]
    found = min(candidates, key=lambda ours: len(list(_settings(ours["backbone"]))), default=None)
    if found is None:
        known = "" if row.cell is not None else "not implemented here"
        return Reproduced(model=row.row, cell="", published=printed, published_gain=gain, outcome=known or "not run")
    verdict = verdicts.get(_key(found))
    return Reproduced(
        model=row.row,
        cell=f"{found['dataset']} / {found['backbone']} / {found['label']}",
        published=printed,
        published_gain=gain,
        ours=_times100(found["mean_error"]),  # type: ignore[arg-type]
        half_width=_times100(found["interval"]),  # type: ignore[arg-type]
        gain=_times100(verdict.mean_difference) if verdict else None,
        gain_half_width=_half(verdict),
        seeds=int(found["seeds"]),
        outcome=_outcome(verdict, gain),
    )


def _times100(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _half(verdict: Verdict | None) -> float | None:
    if verdict is None or verdict.ci_high is None or verdict.mean_difference is None:
        return None
    return 100 * (verdict.ci_high - verdict.mean_difference)


def _error(table: PublishedTable, row: PublishedRow, metric: str) -> float | None:
    """The printed error in percent; an accuracy is turned round."""
    for name in _METRICS[metric]:
        value = table.percent(row, name)
        if value is not None:
            return round(100 - value, 10) if name == "accuracy" else value
    return None


def _published_gain(table: PublishedTable, row: PublishedRow, printed: float | None, metric: str) -> float | None:
    """Against the row of the same dataset and backbone that is our baseline; None where the table has none."""
    if printed is None or row.cell is None or row.cell.is_baseline:
        return None
    for other in table.rows:
        if other.cell is not None and other.cell.is_baseline and other.cell.group == row.cell.group:
            baseline = _error(table, other, metric)
            return None if baseline is None else round(baseline - printed, 10)
    return None


def _corresponds(row: PublishedRow, ours: Mapping[str, str], stands_for: Mapping[str, str]) -> bool:
    cell = row.cell
    if cell is None:
        return False
    dataset = stands_for.get(ours["dataset"], ours["dataset"])
    same_dataset = dataset == cell.dataset.label
    same_variant = (ours["variant"], ours["settings"]) == (cell.variant.name, settings_label(cell.variant.settings))
    return same_dataset and same_variant and _holds(ours["backbone"], cell.backbone)


def _holds(label: str, backbone: Component) -> bool:
    match = re.fullmatch(r"([^(]+)(?:\((.*)\))?", label)
    assert match is not None
    return match[1] == backbone.name and set(_settings(backbone.label)) <= set(_settings(label))


def _settings(label: str) -> Iterator[str]:
    inner = label.partition("(")[2].removesuffix(")")
    return filter(None, inner.split(", "))


def _outcome(verdict: Verdict | None, published: float | None) -> str:
    """What our verdict says of the printed gain (percentage points)."""
    if verdict is None:
        return BASELINE
    if verdict.verdict not in ("HELPS", "HURTS"):
        return verdict.verdict.lower()
    if published is None:
        return f"{verdict.verdict.lower()}; no printed gain"
    assert verdict.mean_difference is not None and verdict.ci_low is not None and verdict.ci_high is not None
    if published * verdict.mean_difference <= 0:
        return "contradicted"
    inside = 100 * verdict.ci_low <= published <= 100 * verdict.ci_high
    return "reproduced" if inside else "direction only"


_COLUMNS = ("row", "published %", "ours %", "published gain", "our gain", "seeds", "outcome")


def to_markdown(table: PublishedTable, records: Records) -> str:
    """The comparison as GitHub Markdown, with what must be known to read it."""
    rows = reproduce(table, records)
    lines = [f"# {table.paper.name}, {table.place}: published and ours", "", *_caption(table, records), ""]
    lines += ["| " + " | ".join(_COLUMNS) + " |", "|:--|--:|--:|--:|--:|--:|:--|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    settings = [f"- {row.model}: {row.cell}" for row in rows if row.cell]
    remarks = [f"- {remark}" for remark in (*table.remarks, *table.paper.remarks)]
    return "\n".join([*lines, "", "Our cells:", "", *settings, "", "Remarks on the paper:", "", *remarks, ""])


def _caption(table: PublishedTable, records: Records) -> Iterator[str]:
    study = records.study
    if study.get("profile"):
        yield f"**Profile {study['profile']}: not the paper's protocol; the figures can only show a direction.**"
    for taken, dataset in (study.get("stands_for") or {}).items():
        yield f"**{taken} stands in for {dataset}.**"
    name = {"test_top1_error": "top-1", "test_top5_error": "top-5"}[records.metric]
    yield (
        f"Test {name} error; ours: mean ± half the {formats.level(records.alpha)} interval over seeds. Gains in "
        "percentage points over the baseline, positive is better."
    )
    if table.not_comparable:
        yield f"The published rows are not comparable with each other: {table.not_comparable}"


def _cells(row: Reproduced) -> tuple[str, ...]:
    return (
        row.model,
        _number(row.published),
        _number(row.ours, row.half_width),
        _number(row.published_gain, sign=True),
        _number(row.gain, row.gain_half_width, sign=True),
        str(row.seeds) if row.seeds else formats.NONE,
        row.outcome,
    )


def _number(value: float | None, half: float | None = None, *, sign: bool = False) -> str:
    if value is None:
        return formats.NONE
    text = f"{value:+.2f}" if sign else f"{value:.2f}"
    return text if half is None else f"{text} ± {half:.2f}"
