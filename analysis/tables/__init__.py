"""A table as people and programs read it: declared columns, each of which draws its value from what a row is of.

Every table of the leaderboard, the report and the papers is a `Table`; what writes it (`analysis.tables.rendering`,
`analysis.tables.latex`) knows nothing of studies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from analysis.formatting import NONE

Item = TypeVar("Item")


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

    @property
    def is_blank(self) -> bool:
        return self.text in ("", NONE)


EMPTY = Value(NONE)


@dataclass(frozen=True)
class Column(Generic[Item]):
    """One column in every form.

    Attributes:
        key: names it in JSON and CSV.
        title: heads it for people.
        value: of what a row is of: a text, a number that `write` makes a text of, None for nothing, or a whole `Value`.
        numeric: it stands to the right.
        optional: it goes where no row has anything.
    """

    key: str
    title: str
    value: Callable[[Item], Value | str | float | None]
    write: Callable[[Any], str] = str
    numeric: bool = False
    optional: bool = False

    def draw_value(self, item: Item) -> Value:
        value = self.value(item)
        if value is None:
            return EMPTY
        if isinstance(value, Value):
            return value
        return Value(value) if isinstance(value, str) else Value(self.write(value), value)


@dataclass(frozen=True)
class Table:
    """`id` is its file name; every row has one value per column; `notes` stand below, a sentence each."""

    id: str
    title: str
    caption: str
    columns: tuple[Column[Any], ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()


def fill_table(
    id: str, title: str, caption: str, columns: Sequence[Column[Item]], items: Sequence[Item], notes: Iterable[str] = ()
) -> Table:
    """A table with a row per item.

    Raises:
        ValueError: two columns have the same key.
    """
    if len({column.key for column in columns}) < len(columns):
        raise ValueError(f"table {id}: two columns have the same key.")
    filled = {}
    for column in columns:
        values = [column.draw_value(item) for item in items]
        if not column.optional or not all(value.is_blank for value in values):
            filled[column] = values
    return Table(id, title, caption, tuple(filled), tuple(zip(*filled.values(), strict=True)), tuple(notes))


def make_estimate(
    number: float | None, low: float | None, high: float | None, write: Callable[[float], str], runs: Iterable[str] = ()
) -> Value:
    """A number with its interval, where there is one, as detail."""
    if number is None:
        return EMPTY
    detail = "" if low is None or high is None else f"[{write(low)} .. {write(high)}]"
    return Value(write(number), number, detail=detail, runs=tuple(runs), low=low, high=high)
