"""Which worker ends when a machine's memory runs out."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from suite.core.trial_folder import take_memory_note
from suite.training import memory_guard
from suite.training.memory_guard import MachineMemory, MemoryGuard, find_held_memory, is_largest

TITLE = b"worker-of-this-test"
OURS = os.getpid()


class Machine:
    """One whose memory, and whose workers' memory, the test says; notes who was ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.left, self.held, self.ended = 5, {OURS: 60, OURS + 1: 30}, list[tuple[int, int]]()
        self.guard = MemoryGuard(TITLE, 0.1, lambda: MachineMemory(100, self.left))
        self.guard.watch_trial(folder)
        monkeypatch.setattr(memory_guard, "find_held_memory", lambda title: dict(self.held))
        monkeypatch.setattr(os, "kill", lambda process, sign: self.ended.append((process, sign)))


def test_the_largest_worker_ends_itself_after_two_looks_and_says_what_it_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(monkeypatch, tmp_path)
    machine.guard.look()
    assert not machine.ended and take_memory_note(tmp_path) is None, "it may be given back in a moment"
    machine.guard.look()
    assert machine.ended == [(OURS, signal.SIGKILL)]
    assert take_memory_note(tmp_path) == {"held": 60, "total": 100}
    assert take_memory_note(tmp_path) is None, "heard once"


def test_a_smaller_worker_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch, tmp_path)
    machine.held[OURS + 1] = 70
    for _ in range(5):
        machine.guard.look()
    assert not machine.ended
    del machine.held[OURS + 1]  # its memory is not back yet
    machine.guard.look()
    assert not machine.ended
    machine.left = 40
    for _ in range(5):
        machine.guard.look()
    assert not machine.ended


def test_looks_count_in_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch, tmp_path)
    for left in (5, 10, 5, 20, 5):
        machine.left = left
        machine.guard.look()
    assert not machine.ended


def test_of_equals_one_ends() -> None:
    held = {1: 50, 2: 50, 3: 10}
    assert [process for process in held if is_largest(process, held)] == [2]
    assert not is_largest(4, held)


def test_workers_are_known_by_their_title() -> None:
    titled = subprocess.Popen([TITLE.decode(), "60"], executable="/bin/sleep")
    try:
        deadline = time.monotonic() + 10
        while not (held := find_held_memory(TITLE)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert held.keys() == {titled.pid} and held[titled.pid] > 0
    finally:
        titled.kill()
        titled.wait()
