"""A published table beside our own results, in the paper's own row order; a confusion matrix class by class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from analysis import formatting
from analysis.published.comparison import Reproduced, compare_table, row_name
from analysis.published.confusions import Confusion, Matrix, confuse_classes, normalise_rows
from analysis.published.outcomes import explain_outcomes
from analysis.published.tables import PublishedTable, list_tables, load_table
from analysis.records.model import Records
from analysis.tables import Column, Table, Value, fill_table, rendering
from analysis.tables.leaderboard import make_mean, name_metric
from analysis.verdicts.results import StudyResults
from suite.core.specs import BASELINE


def build_comparisons(findings: StudyResults) -> list[Table]:
    """Every published table that the study names (`reproduces`), or, where it names none, that its cells serve.

    A table of results serves when two of its rows or more were run.
    """
    named, known = findings.records.study.reproduces, list_tables()
    tables = []
    first: dict[str, str] = {}
    for name in [name for name in named if name in known] if named else known:
        published = load_table(name)
        if named or _serves(published, findings):
            remarks_at = first.setdefault(published.paper.name, published.id)
            tables.append(_build_table(published, findings, remarks_at))
    return tables


def _serves(published: PublishedTable, findings: StudyResults) -> bool:
    return published.kind == "results" and sum(bool(row.cell) for row in compare_table(published, findings)) > 1


def to_table(published: PublishedTable, findings: StudyResults) -> Table:
    """The comparison. Its notes say why a row isn't comparable, and repeat what the paper contradicts itself in."""
    return _build_table(published, findings, published.id)


def _build_table(published: PublishedTable, findings: StudyResults, remarks_at: str) -> Table:
    """`remarks_at`: the table below which the remarks on the whole paper stand."""
    table = _fill_table(published, findings, remarks_at)
    return dataclasses.replace(table, caption=" ".join([*_list_departures(findings.records), table.caption]))


def _fill_table(published: PublishedTable, findings: StudyResults, remarks_at: str) -> Table:
    """Without what makes the study another experiment than the paper's."""
    id, title = f"published-{published.id}", f"{published.paper.name}, {published.place}: published and ours"
    remarks = list(_list_remarks(published, remarks_at))
    if published.kind == "confusion_matrix":
        found = confuse_classes(published, findings)
        notes = [f"Ours: {found.gap}.", *remarks] if found.gap else remarks
        caption = " ".join(_explain_confusion(found))
        return fill_table(id, title, caption, _list_confusion_columns(published), _list_lines(found), notes)
    records, rows = findings.records, compare_table(published, findings)
    caption = " ".join(_list_explanations(published, records))
    reasons = [f"{row.model}: {row.reason}" for row in rows if row.reason]
    meanings = explain_outcomes(published, [row.outcome for row in rows], records)
    return fill_table(id, title, caption, _COLUMNS, rows, [*meanings, *reasons, *remarks])


def to_markdown(published: PublishedTable, findings: StudyResults) -> str:
    """The comparison as GitHub Markdown; what makes it another experiment than the paper's stands first, in bold."""
    table = _fill_table(published, findings, published.id)
    heading, _, rest = rendering.to_markdown(table, heading="#").partition("\n\n")
    departures = [f"**{rendering.escape_markdown(sentence)}**" for sentence in _list_departures(findings.records)]
    return "\n\n".join([heading, *departures, rest])


def to_json(published: PublishedTable, findings: StudyResults) -> list[dict[str, Any]] | dict[str, Any]:
    """Plain JSON values; errors and gains are fractions, as everywhere in JSON. An object for a confusion matrix."""
    if published.kind == "confusion_matrix":
        return _convert_confusion(confuse_classes(published, findings))
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
    Column("printed", "the paper's words", lambda row: row.printed or None, optional=True),
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
    if published.here:
        yield f"Here: {published.here}"
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


def _list_remarks(published: PublishedTable, remarks_at: str) -> Iterator[str]:
    """What the paper contradicts itself in or leaves open."""
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


# -- confusion matrices


@dataclass(frozen=True)
class _Line:
    """A true class of the printed matrix or of ours, as shares of its images."""

    name: str
    index: int
    whose: str
    shares: Matrix
    difference: float | None  # of recall, ours minus the printed; of ours alone
    runs: tuple[str, ...] = ()


def _list_lines(found: Confusion) -> list[_Line]:
    """Each class as printed, then as ours."""
    printed, differences = normalise_rows(found.printed), found.recall_differences
    lines = []
    for index, name in enumerate(found.table.classes):
        lines.append(_Line(name, index, "printed", printed[index], None))
        if found.ours is not None and differences is not None:
            shares, difference = normalise_rows(found.ours)[index], float(differences[index])
            lines.append(_Line(name, index, "ours", shares, difference, found.runs))
    return lines


def _list_confusion_columns(published: PublishedTable) -> list[Column[_Line]]:
    columns: list[Column[_Line]] = [
        Column("true_class", "true class", attrgetter("name")),
        Column("whose", "whose", lambda line: Value(line.whose, runs=line.runs)),
    ]
    for index, name in enumerate(published.classes):
        columns.append(Column(f"as_{name}", name, partial(_make_share, index), numeric=True))
    difference = Column[_Line](
        "recall_difference", "recall, ours - printed, pp", attrgetter("difference"), formatting.format_points,
        numeric=True, optional=True,
    )  # fmt: skip
    return [*columns, difference]


def _make_share(index: int, line: _Line) -> Value:
    share = float(line.shares[index])
    return Value(formatting.format_percent(share, 1), share, bold=index == line.index)


def _explain_confusion(found: Confusion) -> Iterator[str]:
    yield (
        f"{found.table.title}, row {found.table.rows[0].row}: of the test images of each true class, the per cent that "
        "is taken for each class; in bold what is right, the class's recall. Every row is divided by its own sum."
    )
    if found.ours is None or found.difference is None:
        return
    networks = formatting.format_plural(found.networks, "confirm network")
    yield f"Ours: {found.cell}, the sum over {networks} divided by their number."
    yield f"Recalls, ours and printed: {formatting.format_percent(found.difference)} pp apart, mean over classes."
    if found.scatter is not None:
        scatter = formatting.format_percent(found.scatter)
        yield f"Recalls of two single networks of ours: {scatter} pp apart, mean over classes and pairs."


def _convert_confusion(found: Confusion) -> dict[str, Any]:
    """Shares of each true class's images, and how far recalls are apart."""
    rows = []
    for line in _list_lines(found):
        shares = dict(zip(found.table.classes, (round(float(share), 10) for share in line.shares), strict=True))
        rows.append({"true_class": line.name, "whose": line.whose, "shares": shares})
    apart = {"recall_difference": found.difference, "recall_scatter": found.scatter}
    return {"cell": found.cell, "networks": found.networks, **apart, "runs": found.runs, "gap": found.gap, "rows": rows}
