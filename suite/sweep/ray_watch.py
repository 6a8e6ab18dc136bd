"""Whether the Ray of a run still answers: Tune waits for ever on a raylet or a head that died."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import ray

from suite.core.errors import RayLostError

# Seconds: between questions, until an answer counts as none, and for the run to end by itself once Ray is lost.
_PERIOD, _ANSWER, _END = 5.0, 10.0, 25.0
_SILENCES = 2  # in a row; a head that restarts answers again


@contextlib.contextmanager
def watch_ray() -> Iterator[None]:
    """Watches the connected Ray while the block runs, and leaves it afterwards; in the main thread only.

    Within a minute of Ray's death the block is interrupted; the process ends if even that does not help.

    Raises:
        RayLostError: Ray died.
    """

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    watch = _Watch(ray.get_runtime_context().get_node_id())
    watch.start()
    try:
        yield
    except BaseException:  # the interruption, or what Ray raises of its own death
        if not watch.loss:
            raise
    finally:
        watch.end()
        ray.shutdown()
        watch.left.set()
        signal.signal(signal.SIGUSR1, before)
    if watch.loss:  # Tune may have swallowed the interruption and returned
        raise RayLostError(watch.loss)


class _Watch(threading.Thread):
    """
    Attributes:
        loss: a sentence, once Ray is lost.
        left: to be set when Ray has been left.
    """

    def __init__(self, node: str) -> None:
        super().__init__(name="ray-watch", daemon=True)
        self._node = node
        self._ended = threading.Event()
        self._lock = threading.Lock()  # no signal once the block has ended
        self.loss = ""
        self.left = threading.Event()

    def end(self) -> None:
        with self._lock:
            self._ended.set()

    def run(self) -> None:
        silences = 0
        while not self._ended.wait(_PERIOD):
            silences = 0 if self._ask_for_node() else silences + 1
            if silences < _SILENCES:
                continue
            with self._lock:
                if self._ended.is_set():
                    return
                self.loss = "Ray stopped answering: its raylet on this machine, or its head, died"
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            if not self.left.wait(_END):
                sys.stderr.write(f"graftbench: {self.loss}; finished trials are kept, the same command resumes\n")
                sys.stderr.flush()
                os._exit(1)
            return

    def _ask_for_node(self) -> bool:
        """Whether Ray answers, and says that the driver's node is alive. A question to a dead head may never return."""
        alive: list[bool] = []

        def ask() -> None:
            with contextlib.suppress(Exception):  # whatever it says, it is no answer
                alive.append(any(node["NodeID"] == self._node and node["Alive"] for node in ray.nodes()))

        question = threading.Thread(target=ask, name="ray-question", daemon=True)
        question.start()
        question.join(_ANSWER)
        return any(alive)
