"""A table as people and programs read it: one value, written as HTML, Markdown, LaTeX, CSV or JSON.

Every table of the leaderboard, the report and the papers is a `Table`; what draws it (`analysis.tables.rendering`,
`analysis.tables.latex`) knows nothing of studies.
"""

from __future__ import annotations

from dataclasses import dataclass

from analysis.formatting import NONE


@dataclass(frozen=True)
class Value:
    """One cell of a table.

    Attributes:
        text: as people read it, in percent and percentage points.
        number: what it is sorted by and what JSON and CSV hold (fractions); None: its text.
        bold: not distinguishable from the best, or whatever the table's caption says of bold.
        detail: a second, smaller line, such as an interval.
        runs: MLflow run ids that it was computed from.
        low, high: the interval around `number`, for JSON and CSV; people read it in `text` or `detail`.
    """

    text: str
    number: float | int | None = None
    bold: bool = False
    detail: str = ""
    runs: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


EMPTY = Value(NONE)


@dataclass(frozen=True)
class Column:
    """`name` heads it for people, `key` names it in JSON and CSV; `numeric` columns stand to the right."""

    key: str
    name: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """`id` is its file name; every row has one value per column; `notes` stand below, a sentence each.

    Raises:
        ValueError: a row has more or fewer values than there are columns, or there is a duplicate key.
    """

    id: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len({column.key for column in self.columns}) < len(self.columns):
            raise ValueError(f"table {self.id}: two columns have the same key.")
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.id}, row {number}: {len(row)} values for {len(self.columns)} columns.")


def without_empty(
    table_columns: tuple[Column, ...], rows: list[tuple[Value, ...]], optional: frozenset[str]
) -> tuple[tuple[Column, ...], tuple[tuple[Value, ...], ...]]:
    """Columns and rows without the `optional` columns (keys) in which no row has anything."""
    kept = [
        index
        for index, column in enumerate(table_columns)
        if column.key not in optional or any(row[index].text not in ("", NONE) for row in rows)
    ]
    return tuple(table_columns[index] for index in kept), tuple(tuple(row[index] for index in kept) for row in rows)
