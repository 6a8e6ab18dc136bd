"""What all verbs share: exit codes, options, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

DONE, SOME_FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130

Data = Annotated[
    Path, typer.Option("--data", envvar="GRAFTBENCH_DATA", help="The data directory: datasets are looked up there.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Profile = Annotated[str, typer.Option("--profile", help="A profile of the study file, e.g. quick; default: none.")]
DEFAULT_DATA = Path("data")


def make_console(*, stderr: bool = False) -> Console:
    console = Console(highlight=False, stderr=stderr)
    if not console.file.isatty():
        console.width = 120
    return console


def make_table(*columns: str, right: Container[str] = ()) -> Table:
    """A table without rules; the columns named in `right` are set flush right."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def print_parts(parts: Iterable[Table | str]) -> None:
    """Tables folded to the width, lines as they are, so that commands and paths in them can be copied."""
    console = make_console()
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str))


def print_result(as_json: bool, value: Any, parts: Iterable[Table | str]) -> None:
    """One result, for programs or for people."""
    if as_json:
        write_json(value)
    else:
        print_parts(parts)


def write_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")
