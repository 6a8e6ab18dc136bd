"""What all verbs share: exit codes, options, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
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
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 120
    return Console(width=width, highlight=False, stderr=stderr)


def print_parts(parts: Iterable[Table | str]) -> None:
    """Tables folded to the width, lines as they are, so that commands and paths in them can be copied."""
    shown = make_console()
    for part in parts:
        shown.print(part, soft_wrap=isinstance(part, str))


def write_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")
