"""Where a record comes from: commit, host, versions. Standard library only; imports none of what it names."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

_PACKAGES = ("torch", "torchvision", "timm", "numpy")


class Commit(NamedTuple):
    """`commit` in hexadecimal; `dirty` is yes or no; both empty when unknown."""

    commit: str
    dirty: str


def find_commit() -> Commit:
    """The commit of the source tree.

    `GRAFTBENCH_COMMIT` and `GRAFTBENCH_DIRTY` rule where they are set: workers run on a copy without git.
    """
    given = os.environ.get("GRAFTBENCH_COMMIT")
    return Commit(given, os.environ.get("GRAFTBENCH_DIRTY", "")) if given else _commit_of_tree()


@functools.cache
def _commit_of_tree() -> Commit:
    tree = Path(__file__).resolve().parents[2]
    if not (tree / ".git").exists():  # an installed copy must not answer for a repository around it
        return Commit("", "")
    head, changes = _run_git(tree, "rev-parse", "HEAD"), _run_git(tree, "status", "--porcelain")
    if not head or changes is None:
        return Commit("", "")
    return Commit(head, "yes" if changes else "no")


def _run_git(tree: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(tree), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find_host() -> str:
    return socket.gethostname()


@functools.cache
def list_versions() -> str:
    """`python 3.11.7, torch 2.14.1, ...`: what can change a result."""
    found = [f"python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
