"""Refusals of wrong input, and what they suggest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """Wrong input: the message is one sentence with its remedy; the command line exits with 2."""


class RayLostError(Exception):
    """Ray died while trials ran: the message is for people; the command line exits with 1."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'lambda'?`, or the list of what is known when nothing is near."""
    options = sorted(known)
    return _find_nearest(name, options) or (f"; known: {', '.join(options)}" if options else "; it has none")


def one_of(given: Any, options: Iterable[Any]) -> str:
    """`must be one of tpe, random, not 'tpee'; did you mean 'tpe'?`"""
    words = [str(option) for option in options]
    return f"must be one of {', '.join(words)}, not {given!r}{_find_nearest(str(given), words)}"


def _find_nearest(name: str, options: list[str]) -> str:
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
