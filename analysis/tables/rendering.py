"""A `Table` as HTML, Markdown, CSV and JSON (LaTeX: `analysis.tables.latex`), and all tables into a folder.

For who styles the HTML, these are its hooks:

    figure.table#<table id>            the whole; its <figcaption> holds <h3>title</h3> and <p class="caption">
    div.scroll > table.sortable        the table, which may be wider than a phone
    th.num, td.num                     numeric columns; every <th> has data-key, the column's key
    td[data-sort]                      numeric columns: the number to sort by, empty where there is none (last)
    td.best                            bold
    small.detail                       a value's second line
    details.runs > a                   the MLflow runs behind a value, numbered; <code> where a run has no page
    ul.notes                           the notes
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

from analysis.formatting import NONE, format_plural
from analysis.tables import Column, Table, Value, latex
from suite.core.files import write_text

Links = Callable[[str], str | None]  # of a run id: the address of its page; None: it has none
Plain = str | float | int | bool | None


# -- for people


def to_html(table: Table, *, links: Links) -> str:
    """A <figure>; names are escaped. The class names are listed above."""
    head = "".join(
        f'<th scope="col" data-key="{escape(column.key)}"{_class_attribute("num" if column.numeric else "")}>'
        f"{escape(column.name)}</th>"
        for column in table.columns
    )
    body = "\n".join(
        "<tr>" + "".join(_html_cell(*pair, links) for pair in zip(table.columns, row, strict=True)) + "</tr>"
        for row in table.rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    grid = (
        f'<div class="scroll"><table class="sortable">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n'
        "</table></div>\n"
    )
    return (
        f'<figure class="table" id="{escape(table.id)}">\n<figcaption><h3>{escape(table.title)}</h3>{caption}'
        f"</figcaption>\n{grid if table.rows else ''}"
        + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
        + "</figure>\n"
    )


def _class_attribute(*names: str) -> str:
    given = " ".join(filter(None, names))
    return f' class="{given}"' if given else ""


def _html_cell(column: Column, value: Value, links: Links) -> str:
    number = "" if value.number is None or not math.isfinite(value.number) else value.number
    sort = f' data-sort="{number}"' if column.numeric else ""
    text = f"<strong>{escape(value.text)}</strong>" if value.bold else escape(value.text)
    detail = f' <small class="detail">{escape(value.detail)}</small>' if value.detail else ""
    shown = _class_attribute("num" if column.numeric else "", "best" if value.bold else "")
    return f"<td{shown}{sort}>{text}{detail}{_html_runs(value.runs, links)}</td>"


def _html_runs(runs: Sequence[str], links: Links) -> str:
    if not runs:
        return ""
    listed = []
    for number, run in enumerate(runs, 1):
        address = links(run)
        listed.append(f'<a href="{escape(address)}">{number}</a>' if address else f"<code>{escape(run)}</code>")
    return f'<details class="runs"><summary>{format_plural(len(runs), "run")}</summary>{" ".join(listed)}</details>'


def to_markdown(table: Table, heading: str = "##") -> str:
    """GitHub Markdown under a heading; a value's detail stands behind it in small print."""
    lines = [f"{heading} {escape_markdown(table.title)}", ""]
    lines += [escape_markdown(table.caption), ""] if table.caption else []
    if table.rows:
        lines.append("| " + " | ".join(escape_markdown(column.name) for column in table.columns) + " |")
        lines.append("|" + "|".join("--:" if column.numeric else ":--" for column in table.columns) + "|")
        lines += ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in table.rows] + [""]
    lines += [*(f"- {escape_markdown(note)}" for note in table.notes), ""] if table.notes else []
    return "\n".join(lines)


def _markdown_cell(value: Value) -> str:
    text = f"**{escape_markdown(value.text)}**" if value.bold else escape_markdown(value.text)
    return f"{text} <sub>{escape_markdown(value.detail)}</sub>" if value.detail else text


def escape_markdown(text: str) -> str:
    """Names are data: no HTML, no table bars, no emphasis, one line."""
    for character in "\\`*_|[]~#":
        text = text.replace(character, "\\" + character)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.split())


# -- for programs


def to_csv(table: Table) -> str:
    """Keys as header, numbers as they are recorded (errors are fractions), nothing where there is nothing.

    `<key>_low` and `_high` are a value's interval, `_detail` its second line as people read it, `_bold` its mark.

    A text that a spreadsheet would take for a formula (it starts with = + - @, a tab or a return) gets an apostrophe
    in front, as OWASP advises on CSV injection.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keys = _list_keys(table)
    writer.writerow(keys)
    for row in _plain_rows(table):
        writer.writerow([_csv_cell(row[key]) for key in keys])
    return out.getvalue()


def _csv_cell(value: Plain) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.12g}"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in set("=+-@\t\r") else text


def to_json(table: Table) -> str:
    """A list of objects by key: a value's number where it has one, else its text; null where there is nothing."""
    return json.dumps(_plain_rows(table), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _list_keys(table: Table) -> list[str]:
    """The columns' keys, each followed by those of the intervals, details and marks that its values have."""
    keys = []
    for index, column in enumerate(table.columns):
        keys.append(column.key)
        keys += [f"{column.key}{part}" for part in _PARTS if any(_has_part(row[index], part) for row in table.rows)]
    return keys


_PARTS = ("_low", "_high", "_detail", "_bold")


def _has_part(value: Value, part: str) -> bool:
    if part == "_bold":
        return value.bold
    if part == "_detail":
        return bool(value.detail)
    return (value.low if part == "_low" else value.high) is not None


def _plain_rows(table: Table) -> list[dict[str, Plain]]:
    keys = _list_keys(table)
    rows = []
    for row in table.rows:
        plain: dict[str, Plain] = {}
        for column, value in zip(table.columns, row, strict=True):
            text = None if value.text in ("", NONE) else value.text
            number = None if value.number is None else _drop_infinite(value.number)
            plain[column.key] = text if number is None else number
            parts = (value.low, value.high, value.detail or None, value.bold)
            plain |= {f"{column.key}{part}": own for part, own in zip(_PARTS, parts, strict=True)}
        rows.append({key: _drop_infinite(own) if isinstance(own := plain[key], float) else own for key in keys})
    return rows


def _drop_infinite(number: float | int) -> float | int | None:
    """JSON has no infinities; they stay in the text."""
    return number if math.isfinite(number) else None


# -- files

_FORMS: dict[str, tuple[str, Callable[[Table], str]]] = {
    "markdown": ("md", to_markdown),
    "latex": ("tex", latex.to_latex),
    "csv": ("csv", to_csv),
    "json": ("json", to_json),
}
FORMATS = tuple(_FORMS)


def write_tables(tables: Iterable[Table], folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Every table as `<id>.md`, `.tex`, `.csv` and `.json` in `folder` (made if missing), each replaced whole.

    Raises:
        ValueError: a format that isn't one of FORMATS.
    """
    for form in formats:
        if form not in _FORMS:
            raise ValueError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        for form in formats:
            ending, render = _FORMS[form]
            path = folder / f"{table.id}.{ending}"
            write_text(render(table), path)
            written.append(path)
    return written
