"""Components by name: a file's existence registers it; listing names imports nothing.

The only place that imports by name. `backbones/base_cnn.py` is the backbone `base_cnn`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Literal

from suite.settings import Refused, did_you_mean

Kind = Literal["dataset", "backbone", "variant"]


def available(kind: Kind) -> list[str]:
    """Names of the registered components of a kind, sorted. Files whose names start with `_` are helpers."""
    room = Path(__file__).parent / f"{kind}s"
    return sorted(path.stem for path in room.glob("*.py") if not path.stem.startswith("_"))


def check_name(kind: Kind, name: str, where: str | None = None) -> None:
    """
    Raises:
        Refused: no component of that kind has that name; the sentence starts with `where` (default: the kind).
    """
    if name not in available(kind):
        raise Refused(f"{where or kind}: unknown {kind} {name!r}{did_you_mean(name, available(kind))}")


def load(kind: Kind, name: str) -> ModuleType:
    """The module of a component; its room's `__init__` says what it must define.

    Raises:
        Refused: no component of that kind has that name.
    """
    check_name(kind, name)
    return importlib.import_module(f"suite.{kind}s.{name}")
