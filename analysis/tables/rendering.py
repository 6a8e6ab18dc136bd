"""A `Table` as HTML, Markdown, CSV and JSON (LaTeX: `analysis.tables.latex`) and for a terminal; tables into a folder.

For who styles the HTML, these are its hooks:

    figure.table#<table id>            the whole; its <figcaption> holds <h3>title</h3> and <p class="caption">
    div.scroll > table.sortable        the table, which may be wider than a phone
    th.num, td.num                     numeric columns; every <th> has data-key, the column's key
    td[data-sort]                      numeric columns: the number to sort by, empty where there is none (last)
    td.best                            bold
    small.detail                       a value's second line
    details.runs > code                the MLflow runs behind a value
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
from typing import Any

from analysis.formatting import format_plural, shorten_text
from analysis.tables import Column, Table, Value, latex
from suite.core.files import write_text

Plain = str | float | int | bool | None


# -- for people


def to_text(table: Table, width: int, narrowed: Iterable[tuple[str, int]]) -> str:
    """The table without caption for a terminal of `width` columns.

    Args:
        narrowed: keys of columns that give way where it is too wide, in this order, each down to so many letters.
    """
    texts = {}
    for index, column in enumerate(table.columns):
        texts[column.key] = [column.title, *(row[index].text for row in table.rows)]
    widths = {key: max(map(len, column)) for key, column in texts.items()}
    excess = sum(widths.values()) + 2 * (len(widths) - 1) - width
    for key, least in narrowed:
        cut = max(0, min(excess, widths[key] - least))
        widths[key] -= cut
        excess -= cut
    fitted = [_fit_texts(texts[column.key], widths[column.key], column) for column in table.columns]
    heading, *lines = ["  ".join(line).rstrip() for line in zip(*fitted, strict=True)]
    rule = "-" * max(map(len, [heading, *lines]))
    return "\n".join([table.title, heading, rule, *lines, *(f"  {note}" for note in table.notes)])


def _fit_texts(texts: Sequence[str], width: int, column: Column[Any]) -> list[str]:
    pad = str.rjust if column.numeric else str.ljust
    return [pad(shorten_text(text, width), width) for text in texts]


def to_html(table: Table) -> str:
    """A <figure>; names are escaped. The class names are listed above."""
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    lines = [
        f'<figure class="table" id="{escape(table.id)}">',
        f"<figcaption><h3>{escape(table.title)}</h3>{caption}</figcaption>",
    ]
    if table.rows:
        lines += ['<div class="scroll"><table class="sortable">', f"<thead><tr>{_write_html_head(table)}</tr></thead>"]
        lines += ["<tbody>", *(_write_html_row(table, row) for row in table.rows), "</tbody>", "</table></div>"]
    if table.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
        lines.append(f'<ul class="notes">{notes}</ul>')
    return "\n".join([*lines, "</figure>", ""])


def _write_html_head(table: Table) -> str:
    head = ""
    for column in table.columns:
        shown = ' class="num"' if column.numeric else ""
        head += f'<th scope="col" data-key="{escape(column.key)}"{shown}>{escape(column.title)}</th>'
    return head


def _write_html_row(table: Table, row: tuple[Value, ...]) -> str:
    return f"<tr>{''.join(map(_write_html_cell, table.columns, row))}</tr>"


def _write_html_cell(column: Column[Any], value: Value) -> str:
    attributes, text = "", escape(value.text)
    names = [name for name, has in (("num", column.numeric), ("best", value.bold)) if has]
    if names:
        attributes += f' class="{" ".join(names)}"'
    if column.numeric:
        number = _clean_plain(value.number)
        attributes += f' data-sort="{"" if number is None else number}"'
    if value.bold:
        text = f"<strong>{text}</strong>"
    if value.detail:
        text += f' <small class="detail">{escape(value.detail)}</small>'
    if value.runs:
        runs = " ".join(f"<code>{escape(run)}</code>" for run in value.runs)
        summary = format_plural(len(value.runs), "run")
        text += f'<details class="runs"><summary>{summary}</summary>{runs}</details>'
    return f"<td{attributes}>{text}</td>"


def to_markdown(table: Table, heading: str = "##") -> str:
    """GitHub Markdown under a heading; a value's detail stands behind it in small print."""
    lines = [f"{heading} {escape_markdown(table.title)}", ""]
    if table.caption:
        lines += [escape_markdown(table.caption), ""]
    if table.rows:
        titles = [escape_markdown(column.title) for column in table.columns]
        sides = [(":--", "--:")[column.numeric] for column in table.columns]
        lines += [f"| {' | '.join(titles)} |", f"|{'|'.join(sides)}|"]
        lines += [f"| {' | '.join(map(_write_markdown_cell, row))} |" for row in table.rows]
        lines.append("")
    if table.notes:
        lines += [f"- {escape_markdown(note)}" for note in table.notes]
        lines.append("")
    return "\n".join(lines)


def _write_markdown_cell(value: Value) -> str:
    text = escape_markdown(value.text)
    if value.bold:
        text = f"**{text}**"
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
    columns = _list_plain(table)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(map(_write_csv_cell, row))
    return out.getvalue()


def _write_csv_cell(value: Plain) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.12g}"
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@\t\r")) else str(value)


def to_json(table: Table) -> str:
    """A list of objects by key: a value's number where it has one, else its text; null where there is nothing."""
    columns = _list_plain(table)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _list_plain(table: Table) -> dict[str, list[Plain]]:
    """The columns by key, each followed by the intervals, details and marks of its values where it has any."""
    columns: dict[str, list[Plain]] = {}
    for index, column in enumerate(table.columns):
        values = [row[index] for row in table.rows]
        columns[column.key] = list(map(_read_plain, values))
        for part, blank in (("low", None), ("high", None), ("detail", ""), ("bold", False)):
            plain = [getattr(value, part) for value in values]
            if any(entry != blank for entry in plain):
                columns[f"{column.key}_{part}"] = list(map(_clean_plain, plain))
    return columns


def _read_plain(value: Value) -> Plain:
    number = _clean_plain(value.number)
    text = None if value.is_blank else value.text
    return text if number is None else number


def _clean_plain(value: Plain) -> Plain:
    """JSON has no infinities, they stay in the text; and an empty text is nothing."""
    infinite = isinstance(value, float) and not math.isfinite(value)
    return None if infinite or value == "" else value


# -- files

_FORMS: dict[str, Callable[[Table], str]] = {"md": to_markdown, "tex": latex.to_latex, "csv": to_csv, "json": to_json}


def write_tables(tables: Iterable[Table], folder: Path) -> None:
    """Every table as `<id>.md`, `.tex`, `.csv` and `.json` in `folder` (made if missing), each replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        for ending, write in _FORMS.items():
            write_text(write(table), folder / f"{table.id}.{ending}")
