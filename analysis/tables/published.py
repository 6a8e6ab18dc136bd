"""A published table beside our own results, as a table in the paper's own row order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from analysis import formatting
from analysis.published.comparison import Reproduced, compare_table, row_name
from analysis.published.tables import PublishedTable, list_tables, load_table
from analysis.records.model import Records
from analysis.tables import Column, Table, Value, fill_table, rendering
from analysis.tables.leaderboard import make_mean, name_metric
from analysis.verdicts.results import StudyResults
from suite.core.specs import BASELINE


def build_comparisons(findings: StudyResults) -> list[Table]:
    """Every published table that the study names (`reproduces`), or, where it names none, that its cells serve.

    A table serves when two of its rows or more were run.
    """
    named, known = findings.records.study.reproduces, list_tables()
    tables = []
    first: dict[str, str] = {}
    for name in [name for name in named if name in known] if named else known:
        published = load_table(name)
        rows = compare_table(published, findings)
        if named or sum(bool(row.cell) for row in rows) > 1:
            remarks_at = first.setdefault(published.paper.name, published.id)
            tables.append(_fill_table(published, findings.records, rows, remarks_at))
    return tables


def to_table(published: PublishedTable, findings: StudyResults) -> Table:
    """The comparison. Its notes say why a row isn't comparable, and repeat what the paper contradicts itself in."""
    return _fill_table(published, findings.records, compare_table(published, findings), published.id)


def _fill_table(published: PublishedTable, records: Records, rows: list[Reproduced], remarks_at: str) -> Table:
    """`remarks_at`: the table below which the remarks on the whole paper stand."""
    title = f"{published.paper.name}, {published.place}: published and ours"
    caption = " ".join([*_list_departures(records), *_list_explanations(published, records)])
    notes = _list_notes(published, rows, remarks_at)
    return fill_table(f"published-{published.id}", title, caption, _COLUMNS, rows, notes)


def to_markdown(published: PublishedTable, findings: StudyResults) -> str:
    """The comparison as GitHub Markdown; what makes it another experiment than the paper's stands first, in bold."""
    caption = " ".join(_list_explanations(published, findings.records))
    table = dataclasses.replace(to_table(published, findings), caption=caption)
    heading, _, rest = rendering.to_markdown(table, heading="#").partition("\n\n")
    departures = [f"**{rendering.escape_markdown(sentence)}**" for sentence in _list_departures(findings.records)]
    return "\n\n".join([heading, *departures, rest])


def to_json(published: PublishedTable, findings: StudyResults) -> list[dict[str, Any]]:
    """Plain JSON values; errors and gains are fractions, as everywhere in JSON."""
    rows = []
    for row in compare_table(published, findings):
        rows.append({name: _convert_percent(value) for name, value in vars(row).items()})
    return rows


def _convert_percent(value: Any) -> Any:
    """A percentage, or a pair of them, as fraction; anything else as it is."""
    if isinstance(value, tuple):
        return list(map(_convert_percent, value))
    return round(value / 100, 10) if isinstance(value, float) else value


def _divide(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _make_ours(row: Reproduced) -> Value:
    return make_mean(_divide(row.ours), _divide(row.half_width), 2, row.runs)


def _compute_difference(row: Reproduced) -> float | None:
    return None if row.ours is None or row.published is None else (row.ours - row.published) / 100


def _make_gain(row: Reproduced) -> Value | float | None:
    gain = _divide(row.gain)
    if gain is None or row.gain_half_width is None or row.gain_interval is None:
        return gain
    low, high = row.gain_interval
    text = f"{formatting.format_points(gain)} ± {formatting.format_percent(row.gain_half_width / 100)}"
    return Value(text, gain, low=low / 100, high=high / 100)


def _write_count(number: int) -> str:
    return str(number or formatting.NONE)


_COLUMNS: tuple[Column[Reproduced], ...] = (
    Column("row", "row", attrgetter("model")),
    Column("published", "published %", lambda row: _divide(row.published), formatting.format_percent, numeric=True),
    Column("ours", "ours %", _make_ours, numeric=True),
    Column("difference", "ours - published, pp", _compute_difference, formatting.format_points, numeric=True),
    Column(
        "published_gain", "published gain", lambda row: _divide(row.published_gain), formatting.format_points,
        numeric=True,
    ),
    Column("gain", "our gain", _make_gain, formatting.format_points, numeric=True),
    Column("seeds", "seeds", attrgetter("seeds"), _write_count, numeric=True),
    Column("decoders", "decoders", attrgetter("decoders"), numeric=True, optional=True),
    Column("outcome", "outcome", attrgetter("outcome")),
    Column("cell", "our cell", lambda row: row.cell or None),
)  # fmt: skip


def _list_departures(records: Records) -> Iterator[str]:
    """What makes the study another experiment than the paper's."""
    study = records.study
    if study.profile:
        yield f"Profile {study.profile}: not the paper's protocol; the figures can only show a direction."


def _list_explanations(published: PublishedTable, records: Records) -> Iterator[str]:
    """What the figures are."""
    over = "the baseline" if published.reference.name == BASELINE else published.reference.label
    half = f"half the {formatting.format_level(records.alpha)} interval"
    yield (
        f"Test {name_metric(records)} error; ours: mean ± {half} over seeds. Gains in percentage points over {over}, "
        "positive is better."
    )
    if published.reference.name != BASELINE:
        yield (
            "Outcomes go by the t interval of one paired difference, unadjusted for how many there are; the study's "
            "verdicts, which are, compare with its baseline."
        )
    if published.not_comparable:
        yield f"The published rows are not comparable with each other: {published.not_comparable}"


def _list_notes(published: PublishedTable, rows: list[Reproduced], remarks_at: str) -> Iterator[str]:
    for row in rows:
        if row.reason:
            yield f"{row.model}: {row.reason}"
    for remark in published.remarks:
        yield f"The paper's table: {remark}"
    for printed in published.rows:
        for remark in printed.remarks:
            yield f"The paper's row {row_name(published, printed)}: {remark}"
    if remarks_at == published.id:
        for remark in published.paper.remarks:
            yield f"The paper: {remark}"
    elif published.paper.remarks:
        yield f"Remarks on the paper as a whole stand with {remarks_at}."
