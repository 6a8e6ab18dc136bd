"""A machine whose memory runs out: the worker that grew ends itself, and its neighbours go on.

Left to Ray or to the kernel, whichever worker they pick dies, and nobody says why. Here every worker looks at what its
machine has left; when that is nearly nothing, the one that grew most of late notes what it held and ends. Where other
programs hold most of the memory, no worker's end would help, and all go on.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from suite.core.trial_folder import MemoryNote, note_memory

_PERIOD = 0.25  # seconds between two looks; a process fills some 500 MB in it
_LOOKS = 2  # in a row, so that memory which is being given back is not missed
_SNAPSHOT_SECONDS = 30.0  # between two looks at what each worker holds, while there is enough
_FAIR_SHARE = 0.5  # of the memory in use that all workers hold together, else others are at fault
_PAGE = os.sysconf("SC_PAGE_SIZE")


class MachineMemory(NamedTuple):
    """Bytes that the machine, or this process's container, has and has left."""

    total: int
    left: int


class MemoryGuard:
    """Watches from a thread of its own, and ends the process when it is the one to end.

    Args:
        title: how the command lines of this worker and its neighbours begin.
        least: share of the memory that has to stay free.
        enough: bytes left that are never too little, whatever their share.
    """

    def __init__(
        self, title: bytes, least: float, read_memory: Callable[[], MachineMemory], enough: float = math.inf
    ) -> None:
        self._title, self._least, self._read_memory, self._enough = title, least, read_memory, enough
        self._folder: Path | None = None
        self._before: dict[int, int] = {}  # bytes that each worker held when there was enough
        self._looked = 0.0
        self._neighbours: frozenset[int] = frozenset()
        self._scarce = 0  # looks in a row that found too little

    def start(self) -> None:
        threading.Thread(target=self._look_on, name="memory-guard", daemon=True).start()

    def watch_trial(self, folder: Path | None) -> None:
        """Note in this folder, from now on, what the worker held; None: it has no trial."""
        self._folder = folder

    def _look_on(self) -> None:
        while True:
            time.sleep(_PERIOD)
            self.look()

    def look(self) -> None:
        memory = self._read_memory()
        if memory.left >= min(self._least * memory.total, self._enough):
            self._scarce = 0
            self._remember_sizes()
            return
        held = find_held_memory(self._title)
        if self._neighbours != held.keys():  # one has just ended, and what it held may not be back yet
            self._neighbours, self._scarce = frozenset(held), 0
        self._scarce += 1
        are_at_fault = sum(held.values()) >= _FAIR_SHARE * (memory.total - memory.left)
        if self._scarce >= _LOOKS and are_at_fault and find_grown(held, self._before) == os.getpid():
            self._end_worker(held[os.getpid()], memory.total)

    def _remember_sizes(self) -> None:
        if time.monotonic() - self._looked > _SNAPSHOT_SECONDS:
            self._looked = time.monotonic()
            self._before = find_held_memory(self._title)

    def _end_worker(self, held: int, total: int) -> None:
        if self._folder is not None:
            busy = find_held_memory(self._title + b".").keys() - {os.getpid()}  # Ray adds the method that runs
            with contextlib.suppress(OSError):
                note_memory(MemoryNote(held, total, len(busy)), self._folder)
        os.kill(os.getpid(), signal.SIGKILL)  # whatever the main thread is in, it allocates no more


def find_grown(held: dict[int, int], before: dict[int, int]) -> int:
    """The process that grew most since, one that is new by all it holds; of equals the larger one."""
    return max(held, key=lambda process: (held[process] - before.get(process, 0), held[process], process), default=0)


def find_held_memory(title: bytes) -> dict[int, int]:
    """Resident bytes by process, of this machine's processes with that title."""
    held = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                folder = Path(entry.path)
                if (folder / "cmdline").read_bytes().startswith(title):
                    held[int(entry.name)] = int((folder / "statm").read_text().split()[1]) * _PAGE
    return held
