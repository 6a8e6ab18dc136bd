"""Processes that train beside a timing, as the trials of a run train beside each other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event

from suite.price.bench import FEWEST, Subject, start_network

_PATIENCE = 120.0  # seconds in which a process should have imported torch and trained a step
_PAUSE = 0.05


@contextlib.contextmanager
def train_beside(subject: Subject, number: int) -> Iterator[bool]:
    """Inside, so many other processes train the network; False where not all of them could be brought to it."""
    context = multiprocessing.get_context("spawn")  # a fork would share CUDA and threads that it can't use
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(number):
            is_busy = context.Event()
            process = context.Process(target=_train_on, args=(subject, is_busy, os.getpid()), daemon=True)
            process.start()
            stack.callback(_end_process, process)
            started.append((process, is_busy))
        yield all(_wait_until_busy(process, is_busy) for process, is_busy in started)


def _train_on(subject: Subject, is_busy: Event, parent: int) -> None:
    """Train until the parent ends this process, or has ended itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who then ends this
    network, _ = start_network(subject)
    is_busy.set()
    while os.getppid() == parent:
        network.train_steps(FEWEST, epoch=3)


def _wait_until_busy(process: BaseProcess, is_busy: Event) -> bool:
    until = time.monotonic() + _PATIENCE
    while process.is_alive() and time.monotonic() < until:
        if is_busy.wait(_PAUSE):
            return True
    return False


def _end_process(process: BaseProcess) -> None:
    process.kill()
    process.join()
