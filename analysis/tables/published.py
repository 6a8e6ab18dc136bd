"""A published table beside our own results, as a table in the paper's own row order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from analysis import formatting
from analysis.published.comparison import Reproduced, reproduce, row_name
from analysis.published.tables import PublishedTable, load_table, tables
from analysis.records.model import Records
from analysis.tables import EMPTY, Column, Table, Value, rendering
from analysis.verdicts.results import Findings
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


def beside(findings: Findings) -> list[Table]:
    """Every published table that the study names (`reproduces`), or, where it names none, that its cells serve.

    A table serves when two of its rows or more were run.
    """
    named = findings.records.study.get("reproduces")
    if named:
        known = set(tables())
        wanted = [load_table(name) for name in named if name in known]
        found = [(table, reproduce(table, findings)) for table in wanted]
    else:
        every = ((table, reproduce(table, findings)) for table in map(load_table, tables()))
        found = [(table, rows) for table, rows in every if sum(bool(row.cell) for row in rows) > 1]
    first: dict[str, str] = {}
    for table, _ in found:
        first.setdefault(table.paper.name, table.id)
    return [to_table(table, findings, rows, first[table.paper.name]) for table, rows in found]


def to_table(
    published: PublishedTable, findings: Findings, rows: list[Reproduced] | None = None, remarks_at: str = ""
) -> Table:
    """The comparison. Its notes say why a row isn't comparable, and repeat what the paper contradicts itself in.

    Args:
        rows: `reproduce(published, findings)`, where the caller has it.
        remarks_at: the table below which the remarks on the whole paper stand; empty: this one.
    """
    compared = reproduce(published, findings) if rows is None else rows
    return Table(
        id=f"published-{published.id}",
        title=f"{published.paper.name}, {published.place}: published and ours",
        caption=" ".join([*_departures(findings.records), *_caption(published, findings.records)]),
        columns=_COLUMNS,
        rows=tuple(map(_values, compared)),
        notes=tuple(_notes(published, compared, remarks_at)),
    )


def to_markdown(published: PublishedTable, findings: Findings) -> str:
    """The comparison as GitHub Markdown; what makes it another experiment than the paper's stands first, in bold."""
    plain = dataclasses.replace(to_table(published, findings), caption=" ".join(_caption(published, findings.records)))
    heading, _, rest = rendering.to_markdown(plain, heading="#").partition("\n\n")
    departures = (f"**{rendering.markdown(sentence)}**" for sentence in _departures(findings.records))
    return "\n\n".join([heading, *departures, rest])


def to_json(published: PublishedTable, findings: Findings) -> list[dict[str, Any]]:
    """Plain JSON values; errors and gains are fractions, as everywhere in JSON."""
    return [{name: _as_fraction(value) for name, value in vars(row).items()} for row in reproduce(published, findings)]


def _as_fraction(value: Any) -> Any:
    """A percentage, or a pair of them, as fraction; anything else as it is."""
    if isinstance(value, tuple):
        return [_as_fraction(part) for part in value]
    return round(value / 100, 10) if isinstance(value, float) else value


def _values(row: Reproduced) -> tuple[Value, ...]:
    difference = None if row.ours is None or row.published is None else row.ours - row.published
    ours = EMPTY
    if row.ours is not None:
        text = _percent(row.ours) if row.half_width is None else f"{_percent(row.ours)} ± {_percent(row.half_width)}"
        half = None if row.half_width is None else row.half_width / 100
        low, high = (None, None) if half is None else (row.ours / 100 - half, row.ours / 100 + half)
        ours = Value(text, row.ours / 100, runs=row.runs, low=low, high=high)
    return (
        Value(row.model),
        _number(row.published),
        ours,
        _number(difference, sign=True),
        _number(row.published_gain, sign=True),
        _gain(row),
        Value(str(row.seeds or formatting.NONE), row.seeds),
        Value(row.outcome),
        Value(row.cell or formatting.NONE),
    )


def _gain(row: Reproduced) -> Value:
    if row.gain is None:
        return EMPTY
    text = formatting.points(row.gain / 100)
    if row.gain_half_width is None or row.gain_interval is None:
        return Value(text, row.gain / 100)
    low, high = (bound / 100 for bound in row.gain_interval)
    return Value(f"{text} ± {_percent(row.gain_half_width)}", row.gain / 100, low=low, high=high)


def _number(percent: float | None, *, sign: bool = False) -> Value:
    if percent is None:
        return EMPTY
    return Value(formatting.points(percent / 100) if sign else _percent(percent), percent / 100)


def _percent(percent: float) -> str:
    """With the two decimals that the papers print."""
    return formatting.percent(percent / 100)


def _departures(records: Records) -> Iterator[str]:
    """What makes the study another experiment than the paper's."""
    study = records.study
    if study.get("profile"):
        yield f"Profile {study['profile']}: not the paper's protocol; the figures can only show a direction."
    for taken, dataset in (study.get("stands_for") or {}).items():
        yield f"{taken} stands in for {dataset}."


def _caption(published: PublishedTable, records: Records) -> Iterator[str]:
    """What the figures are."""
    name = {"test_top1_error": "top-1", "test_top5_error": "top-5"}[records.metric]
    over = "the baseline" if published.reference.name == BASELINE else published.reference.label
    half = f"half the {formatting.level(records.alpha)} interval"
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


def _notes(published: PublishedTable, rows: list[Reproduced], remarks_at: str) -> Iterator[str]:
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
