"""One table in five forms: escaping, numbers, files, and LaTeX that compiles."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from analysis.formatting import (
    NONE,
    choose_decimals,
    format_count,
    format_hours,
    format_interval,
    format_p_value,
    format_percent,
    format_points,
    slug_of_name,
)
from analysis.tables import EMPTY, Column, Table, Value, fill_table, latex
from analysis.tables.rendering import to_csv, to_html, to_json, to_markdown, write_tables

NASTY = (
    "<script>alert('x')</script>",
    "a|b*c_d`e`",
    "50 % & #1 _under_ $x$ {y} ~z ^w \\textbf{no}",
    "± − – … × λ ≥ \u00a0 é ß Ł µ “q” ² 你好 \u200b",
    "=HYPERLINK(1)",
    "+lead",
    "-- and ,, and << >>",
    'two\nlines, "quoted"',
    "[option] at a row's start",
    "*star",
    "r" * 300,
    "timm:resnet18_a1h.in1k/with=many:marks(and=more, again=x)",
    "",
)
COLUMNS: tuple[Column[Any], ...] = (
    Column("name", "name <&>", itemgetter(0)),
    Column("error", "error %", itemgetter(1), numeric=True),
    Column("count", "count", itemgetter(2), numeric=True),
)
X: Column[Any] = Column("x", "x", itemgetter(0))


def fill(columns: Sequence[Column[Any]], *items: Sequence[Any]) -> Table:
    """An item is a row's values, in the columns' order."""
    return fill_table("t", "t", "", columns, items)


def made(names: tuple[str, ...] = NASTY, rows: int | None = None) -> Table:
    """A table with one row per name, or so many rows."""
    repeated = [names[index % len(names)] for index in range(len(names) if rows is None else rows)]
    return fill_table(
        "made",
        "Title & <b> 50 %",
        "Caption: mean ± half; λ_2, 5 % of {x}.",
        COLUMNS,
        [
            (
                Value(name, runs=("run<1>", "run2")),
                Value("8.31 ± 0.42", 0.0831, bold=index == 0, low=0.0789, high=0.0873),
                Value("3/5", 3, detail="of & <5>"),
            )
            for index, name in enumerate(repeated)
        ],
        notes=(NASTY[0], NASTY[2]),
    )


# -- HTML


class _Tags(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def html(table: Table) -> _Tags:
    return _Tags(to_html(table))


def test_html_escapes_every_name_and_loses_none() -> None:
    page = html(made())
    allowed = {"figure", "figcaption", "h3", "p", "div", "table", "thead", "tbody", "tr", "th", "td", "strong", "small"}
    assert {tag for tag, _ in page.tags} <= allowed | {"details", "summary", "code", "ul", "li"}
    text = "".join(page.text)
    for name in NASTY:
        assert name in text


def test_html_sorts_by_the_number_behind_the_text() -> None:
    cells = [attributes for tag, attributes in html(made()).tags if tag == "td"]
    assert cells[1] == {"class": "num best", "data-sort": "0.0831"}
    assert "data-sort" not in cells[0], "text sorts as it reads"
    empty = fill([Column("x", "x", itemgetter(0), numeric=True)], [None], [math.inf])
    assert [own["data-sort"] for tag, own in html(empty).tags if tag == "td"] == ["", ""]


def test_html_lists_the_runs_behind_a_value() -> None:
    page = html(made(("a",)))
    assert "2 runs" in page.text and "run<1>" in page.text and "run2" in page.text


# -- Markdown


def test_markdown_keeps_one_line_per_row_and_its_bars() -> None:
    lines = [line for line in to_markdown(made()).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(NASTY)
    assert {line.replace("\\|", "").count("|") for line in lines} == {4}
    assert "<script" not in "\n".join(lines) and "**8.31 ± 0.42**" in lines[2]
    assert lines[1] == "|:--|--:|--:|"


# -- CSV and JSON


def test_csv_holds_numbers_and_intervals_as_fractions() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(made()))))
    assert list(rows[0]) == ["name", "error", "error_low", "error_high", "error_bold", "count", "count_detail"]
    assert (rows[0]["error"], rows[0]["error_low"], rows[0]["error_bold"], rows[1]["error_bold"]) == (
        "0.0831", "0.0789", "yes", "no",
    )  # fmt: skip
    assert rows[0]["count"] == "3"
    assert [row["name"] for row in rows if row["name"].startswith("two")] == ['two\nlines, "quoted"']


def test_csv_disarms_formulas() -> None:
    texts = ("=1+1", "+1", "-1", "@x", "\tx", "a=1")
    table = fill([X], *([text] for text in texts))
    found = [row[0] for row in csv.reader(io.StringIO(to_csv(table)))][1:]
    assert found == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "a=1"]
    negative = fill([X], [Value("-1.00", -0.01)])
    assert to_csv(negative) == "x\n-0.01\n", "a number is no formula"


def test_json_holds_numbers_and_null() -> None:
    columns = COLUMNS[:2]
    found = json.loads(to_json(fill(columns, ["a", Value("8.31", 0.0831)], [NONE, EMPTY], ["", math.inf])))
    assert found == [{"name": "a", "error": 0.0831}, {"name": None, "error": None}, {"name": None, "error": "inf"}]
    assert [row["name"] for row in json.loads(to_json(made()))] == [name or None for name in NASTY]


# -- LaTeX


@pytest.mark.parametrize("rows", [len(NASTY), 90])
def test_latex_compiles(rows: int, tmp_path: Path) -> None:
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip("pdflatex is not installed: the LaTeX is not compiled")
    every = " ".join(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x370, 0x400), *range(0x2010, 0x2040))))
    plain = Table("plain", "Plain", "", COLUMNS, (), notes=(NASTY[2], every))
    body = "\n".join(map(latex.to_latex, (made(rows=rows), plain)))
    source = f"\\documentclass{{article}}\n{latex.PREAMBLE}\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(source, encoding="utf-8")
    command = [compiler, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    assert "Missing character" not in said
    if rows == len(NASTY):
        assert "Overfull" not in said, "a wide table is made smaller"


def test_latex_has_booktabs_a_caption_and_numbers_to_the_right() -> None:
    text = latex.to_latex(made(("a_b",)))
    assert "{@{}lrr@{}}" in text and text.count("rule") == 3
    assert r"\label{tab:made}" in text and r"Title \& \textless{}b\textgreater{} 50 \%" in text
    assert r"a\_b & \textbf{8.31 $\pm$ 0.42} & " in text
    assert r"3/5\\\scriptsize of \& \textless{}5\textgreater{}\end{tabular} \\[2pt]" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\\b{c}", r"a\textbackslash{}b\{c\}"),
        ("50 %", r"50 \%"),
        ("a--b", "a-{}-b"),
        ("a---b", "a-{}-{}-b"),
        ("a – b", "a -- b"),
        ("λ × 2", r"$\lambda$ $\times$ 2"),
        ("你", "{[}U+4F60{]}"),
        ("two\nlines", "two lines"),
        ("e\u0301", "é"),
    ],
)
def test_latex_text(text: str, expected: str) -> None:
    assert latex.escape_latex(text) == expected


def test_a_long_table_is_a_longtable() -> None:
    long, short = (latex.to_latex(made(("a",), rows=rows)) for rows in (21, 20))  # two lines each
    assert r"\begin{longtable}" in long and r"\begin{longtable}" not in short


def test_sentences_stand_below_the_grid_of_a_short_table() -> None:
    columns: list[Column[Any]] = [*COLUMNS[:2], Column("why", "why", itemgetter(2))]
    text = latex.to_latex(fill(columns, *([name, 1, "because " * 10] for name in ("a", "b"))))
    assert "{@{}lr@{}}" in text and "a: because because" in text and "b: because because" in text


def test_a_wide_table_lies_on_its_side() -> None:
    def wide(columns: int) -> str:
        names: list[Column[Any]] = [Column(f"c{index}", f"{index:012}", itemgetter(0)) for index in range(columns)]
        return latex.to_latex(fill(names, [None]))

    assert r"\begin{landscape}" in wide(7) and r"\begin{table}" in wide(6)


# -- tables and files


def test_two_columns_of_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="two columns have the same key"):
        fill([X, X])


def test_a_column_draws_texts_numbers_and_nothing() -> None:
    column: Column[Any] = Column("x", "x", itemgetter(0), format_percent)
    table = fill([column], ["a"], [0.0831], [None], [Value("b", bold=True)])
    assert [row[0] for row in table.rows] == [Value("a"), Value("8.31", 0.0831), EMPTY, Value("b", bold=True)]


def test_columns_without_anything_may_go() -> None:
    columns = [COLUMNS[0], *(dataclasses.replace(column, optional=True) for column in COLUMNS[1:])]
    table = fill(columns, ["a", None, None], ["b", 1, None])
    assert [column.key for column in table.columns] == ["name", "error"]
    assert [[value.text for value in row] for row in table.rows] == [["a", NONE], ["b", "1"]]


def test_files_are_written_in_every_form(tmp_path: Path) -> None:
    write_tables([made()], tmp_path / "tables")
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"made.md", "made.tex", "made.csv", "made.json"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("parquet(path=cifar10)", "parquet-path-cifar10"), ("../../etc", "etc"), ("λ", "unnamed"), ("A b", "a-b")],
)
def test_names_become_file_names(name: str, expected: str) -> None:
    assert slug_of_name(name) == expected


# -- formats


def test_what_rounds_to_zero_has_no_minus() -> None:
    assert format_points(-0.00001) == format_points(0.0) == "+0.00"
    assert format_percent(-0.0) == "0.00" and format_interval(-1e-6, 0.001) == "+0.00 .. +0.10"
    assert format_points(-0.0312) == "-3.12"


@pytest.mark.parametrize(
    ("halves", "expected"),
    [
        ([0.0042], 2), ([0.021], 1), ([0.21], 1), ([0.00042], 3), ([1e-6], 3), ([], 2), ([None, 0.0], 2),
        ([0.004, 0.02, 0.03], 1),
    ],
)  # fmt: skip
def test_decimals_follow_the_uncertainty(halves: list[float | None], expected: int) -> None:
    assert choose_decimals(halves) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (999, "999"), (1000, "1 k"), (999_999, "1 M"), (123_456, "123 k"), (7_941_000, "7.94 M"), (50_938, "50.9 k"),
        (4.1e9, "4.1 G"), (2e13, "20000 G"), (None, NONE), (0, "0"),
    ],
)  # fmt: skip
def test_counts(number: float | None, expected: str) -> None:
    assert format_count(number) == expected


def test_a_p_value_is_never_rounded_to_the_level() -> None:
    assert [format_p_value(p) for p in (0.0496, 0.0501, 0.012, 0.00001, 0.5)] == [
        "0.0496",
        "0.0501",
        "0.012",
        "< 0.0001",
        "0.5",
    ]


def test_hours() -> None:
    assert [format_hours(number) for number in (None, 76.0, 3600 * 3.44, 3600 * 153.2, math.inf)] == [
        NONE, "0.021", "3.4", "153", NONE,
    ]  # fmt: skip
