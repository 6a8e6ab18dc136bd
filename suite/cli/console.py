"""What all verbs share: exit codes, and how they print. Imports nothing heavy."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Container, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rich is imported where something is printed with it: verdicts and tables are not
    from rich.console import Console
    from rich.table import Table

DONE, SOME_FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130

OTHER_COLUMNS = 80  # cells that numbers and states take beside a dataset's name


def escape(text: str) -> str:
    """Text that a console prints as it is, brackets included."""
    from rich import markup

    return markup.escape(text)


def make_console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(highlight=False, stderr=stderr)
    if not console.file.isatty():
        console.width = 120
    return console


def make_table(*columns: str, right: Container[str] = ()) -> Table:
    """A table without rules; the columns named in `right` are set flush right."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def have_room(names: Collection[str]) -> bool:
    """Whether names fit in a table's first column, next to what the others take."""
    from rich.cells import cell_len

    return max(map(cell_len, names)) + OTHER_COLUMNS <= make_console().width


def keep_names_whole(table: Table, names: Collection[str]) -> None:
    """Where the names of the first column don't fit they fold on a terminal; a pipe has no width, and there they are
    kept whole, so that they can be copied.
    """
    from rich.cells import cell_len

    if have_room(names) or make_console().file.isatty():
        return
    table.columns[0].no_wrap = True
    table.width = max(map(cell_len, names)) + OTHER_COLUMNS


def print_parts(parts: Iterable[Table | str]) -> None:
    """Tables folded to the width, unless they have one of their own; lines as they are, so that commands and paths in
    them can be copied.
    """
    console = make_console()
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str), crop=False)


def print_result(as_json: bool, value: Any, parts: Iterable[Table | str]) -> None:
    """One result, for programs or for people."""
    if as_json:
        write_json(value)
    else:
        print_parts(parts)


def write_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")
