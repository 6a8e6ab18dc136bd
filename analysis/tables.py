"""A table as people and programs read it: one value, written as HTML, Markdown, LaTeX, CSV or JSON.

Every table of the leaderboard, the report and the papers is a `Table`; what draws it knows nothing of studies.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """One cell of a table.

    Attributes:
        text: as people read it, in percent and percentage points.
        number: what it is sorted by and what JSON and CSV hold (fractions); None: its text.
        bold: not distinguishable from the best, or whatever the table's caption says of bold.
        detail: a second, smaller line, such as an interval.
        runs: MLflow run ids that it was computed from.
    """

    text: str
    number: float | int | None = None
    bold: bool = False
    detail: str = ""
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """`name` heads it for people, `key` names it in JSON and CSV; `numeric` columns stand to the right."""

    key: str
    name: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """`id` is its file name; every row has one value per column; `notes` stand below, a sentence each."""

    id: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()
