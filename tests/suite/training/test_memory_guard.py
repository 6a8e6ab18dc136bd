"""Which worker ends when a machine's memory runs out."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from suite.core.trial_folder import MemoryNote, take_memory_note
from suite.training import memory_guard
from suite.training.memory_guard import MachineMemory, MemoryGuard, find_grown, find_held_memory

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
    assert take_memory_note(tmp_path) == MemoryNote(60, 100, 1)
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


def test_the_one_that_grew_ends_and_not_the_largest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch, tmp_path)
    machine.left, machine.held = 50, {OURS: 10, OURS + 1: 70}
    machine.guard.look()  # there is enough: what each holds is remembered
    machine.left, machine.held = 5, {OURS: 25, OURS + 1: 70}
    machine.guard.look()
    machine.guard.look()
    assert machine.ended == [(OURS, signal.SIGKILL)]


def test_nobody_ends_for_memory_that_others_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch, tmp_path)
    machine.held = {OURS: 20, OURS + 1: 10}  # of 95 in use
    for _ in range(5):
        machine.guard.look()
    assert not machine.ended


def test_a_large_machine_keeps_no_more_free_than_a_few_gigabytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(monkeypatch, tmp_path)
    total = 2000 * 2**30
    machine.held = {OURS: total // 2, OURS + 1: total // 3}
    machine.guard = MemoryGuard(TITLE, 0.1, lambda: MachineMemory(total, machine.left), 8 * 2**30)
    machine.left = 9 * 2**30
    for _ in range(5):
        machine.guard.look()
    assert not machine.ended
    machine.left = 7 * 2**30
    for _ in range(5):
        machine.guard.look()
    assert machine.ended


def test_a_worker_without_a_trial_notes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(monkeypatch, tmp_path)
    machine.guard.watch_trial(None)
    machine.guard.look()
    machine.guard.look()
    assert machine.ended and take_memory_note(tmp_path) is None


def test_growth_decides_then_size() -> None:
    assert find_grown({1: 50, 2: 50, 3: 10}, {}) == 2
    assert find_grown({1: 50, 2: 50, 3: 30}, {1: 50, 2: 45, 3: 5}) == 3
    assert find_grown({1: 50, 2: 60}, {1: 50, 2: 60}) == 2


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
