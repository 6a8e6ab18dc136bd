"""A published table beside our own results, as a table in the paper's own row order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from analysis import formatting
from analysis.published.comparison import Reproduced, compare_table, row_name
from analysis.published.tables import PublishedTable, list_tables, load_table
from analysis.records.model import Records
from analysis.tables import EMPTY, Column, Table, Value, rendering
from analysis.verdicts.results import StudyResults
from suite.core.specs import BASELINE

_COLUMNS = (
    Column("row", "row"),
    Column("published", "published %", numeric=True),
    Column("ours", "ours %", numeric=True),
    Column("difference", "ours - published, pp", numeric=True),
    Column("published_gain", "published gain", numeric=True),
    Column("gain", "our gain", numeric=True),
    Column("seeds", "seeds", numeric=True),
    Column("outcome", "outcome"),
    Column("cell", "our cell"),
)


def build_comparisons(findings: StudyResults) -> list[Table]:
    """Every published table that the study names (`reproduces`), or, where it names none, that its cells serve.

    A table serves when two of its rows or more were run.
    """
    named = findings.records.study.get("reproduces")
    if named:
        known = set(list_tables())
        wanted = [load_table(name) for name in named if name in known]
        found = [(table, compare_table(table, findings)) for table in wanted]
    else:
        every = ((table, compare_table(table, findings)) for table in map(load_table, list_tables()))
        found = [(table, rows) for table, rows in every if sum(bool(row.cell) for row in rows) > 1]
    first: dict[str, str] = {}
    for table, _ in found:
        first.setdefault(table.paper.name, table.id)
    return [to_table(table, findings, rows, first[table.paper.name]) for table, rows in found]


def to_table(
    published: PublishedTable, findings: StudyResults, rows: list[Reproduced] | None = None, remarks_at: str = ""
) -> Table:
    """The comparison. Its notes say why a row isn't comparable, and repeat what the paper contradicts itself in.

    Args:
        rows: `reproduce(published, findings)`, where the caller has it.
        remarks_at: the table below which the remarks on the whole paper stand; empty: this one.
    """
    compared = compare_table(published, findings) if rows is None else rows
    return Table(
        id=f"published-{published.id}",
        title=f"{published.paper.name}, {published.place}: published and ours",
        caption=" ".join([*_list_departures(findings.records), *_write_caption(published, findings.records)]),
        columns=_COLUMNS,
        rows=tuple(map(_make_values, compared)),
        notes=tuple(_write_notes(published, compared, remarks_at)),
    )


def to_markdown(published: PublishedTable, findings: StudyResults) -> str:
    """The comparison as GitHub Markdown; what makes it another experiment than the paper's stands first, in bold."""
    plain = dataclasses.replace(
        to_table(published, findings), caption=" ".join(_write_caption(published, findings.records))
    )
    heading, _, rest = rendering.to_markdown(plain, heading="#").partition("\n\n")
    departures = (f"**{rendering.escape_markdown(sentence)}**" for sentence in _list_departures(findings.records))
    return "\n\n".join([heading, *departures, rest])


def to_json(published: PublishedTable, findings: StudyResults) -> list[dict[str, Any]]:
    """Plain JSON values; errors and gains are fractions, as everywhere in JSON."""
    return [
        {name: _as_fraction(value) for name, value in vars(row).items()} for row in compare_table(published, findings)
    ]


def _as_fraction(value: Any) -> Any:
    """A percentage, or a pair of them, as fraction; anything else as it is."""
    if isinstance(value, tuple):
        return [_as_fraction(part) for part in value]
    return round(value / 100, 10) if isinstance(value, float) else value


def _make_values(row: Reproduced) -> tuple[Value, ...]:
    difference = None if row.ours is None or row.published is None else row.ours - row.published
    ours = EMPTY
    if row.ours is not None:
        text = (
            _format_printed(row.ours)
            if row.half_width is None
            else f"{_format_printed(row.ours)} ± {_format_printed(row.half_width)}"
        )
        half = None if row.half_width is None else row.half_width / 100
        low, high = (None, None) if half is None else (row.ours / 100 - half, row.ours / 100 + half)
        ours = Value(text, row.ours / 100, runs=row.runs, low=low, high=high)
    return (
        Value(row.model),
        _make_number(row.published),
        ours,
        _make_number(difference, sign=True),
        _make_number(row.published_gain, sign=True),
        _make_gain(row),
        Value(str(row.seeds or formatting.NONE), row.seeds),
        Value(row.outcome),
        Value(row.cell or formatting.NONE),
    )


def _make_gain(row: Reproduced) -> Value:
    if row.gain is None:
        return EMPTY
    text = formatting.format_points(row.gain / 100)
    if row.gain_half_width is None or row.gain_interval is None:
        return Value(text, row.gain / 100)
    low, high = (bound / 100 for bound in row.gain_interval)
    return Value(f"{text} ± {_format_printed(row.gain_half_width)}", row.gain / 100, low=low, high=high)


def _make_number(percent: float | None, *, sign: bool = False) -> Value:
    if percent is None:
        return EMPTY
    return Value(formatting.format_points(percent / 100) if sign else _format_printed(percent), percent / 100)


def _format_printed(percent: float) -> str:
    """With the two decimals that the papers print."""
    return formatting.format_percent(percent / 100)


def _list_departures(records: Records) -> Iterator[str]:
    """What makes the study another experiment than the paper's."""
    study = records.study
    if study.get("profile"):
        yield f"Profile {study['profile']}: not the paper's protocol; the figures can only show a direction."
    for taken, dataset in (study.get("stands_for") or {}).items():
        yield f"{taken} stands in for {dataset}."


def _write_caption(published: PublishedTable, records: Records) -> Iterator[str]:
    """What the figures are."""
    name = {"test_top1_error": "top-1", "test_top5_error": "top-5"}[records.metric]
    over = "the baseline" if published.reference.name == BASELINE else published.reference.label
    half = f"half the {formatting.format_level(records.alpha)} interval"
    yield (
        f"Test {name} error; ours: mean ± {half} over seeds. Gains in percentage points over {over}, positive is "
        "better."
    )
    if published.reference.name != BASELINE:
        yield (
            "Outcomes go by the t interval of one paired difference, unadjusted for how many there are; the study's "
            "verdicts, which are, compare with its baseline."
        )
    if published.not_comparable:
        yield f"The published rows are not comparable with each other: {published.not_comparable}"


def _write_notes(published: PublishedTable, rows: list[Reproduced], remarks_at: str) -> Iterator[str]:
    for row in rows:
        if row.reason:
            yield f"{row.model}: {row.reason}"
    for remark in published.remarks:
        yield f"The paper's table: {remark}"
    for printed in published.rows:
        for remark in printed.remarks:
            yield f"The paper's row {row_name(published, printed)}: {remark}"
    if remarks_at and remarks_at != published.id and published.paper.remarks:
        yield f"Remarks on the paper as a whole stand with {remarks_at}."
        return
    for remark in published.paper.remarks:
        yield f"The paper: {remark}"
