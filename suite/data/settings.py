"""Settings that several datasets share."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from suite.core.settings import Setting


def parse_path(given: Any) -> str:
    """A directory name below the data directory. Raises ValueError with a sentence."""
    if not isinstance(given, str):
        raise ValueError(f"must be the name of a directory below the data directory, not {given!r}")
    path = PurePosixPath(given)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"must be a name below the data directory, without a leading / or .., not {given!r}")
    return str(path) if given else ""


LARGEST = 4096  # pixels a side


def path_setting() -> Setting:
    return Setting("", "directory below the data directory that holds the files; must be given", parse=parse_path)


def size_setting(side: int) -> Setting:
    return Setting(
        side, "image side in pixels; photographs are resized to it once, when they are decoded", low=1, high=LARGEST
    )


def resize_setting(how: str) -> Setting:
    doc = "squash: to the square as it is; crop: the shorter side to the size, then the centre"
    return Setting(how, doc, choices=("squash", "crop"))


def validation_setting(default: str) -> Setting:
    return Setting(0, f"training images held out; 0: {default}", low=0)


FIFTH_OR_TENTH = "a fifth, or a tenth where there are 100 classes or more"


def held_out(train_examples: int, classes: int) -> int:
    """How many training images are held out where neither study nor paper says: `FIFTH_OR_TENTH`."""
    return round(train_examples / (10 if classes >= 100 else 5))
