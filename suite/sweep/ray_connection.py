"""A connection to Ray: before it, that something listens there and a token is sent; while it lasts, that Ray is alive.

Ray takes seconds to import, so it is imported where it is used.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from suite.core.errors import RayLostError, UserError

# Seconds: between questions, until an answer counts as none, and for the run to end by itself once Ray is lost.
_PERIOD, _ANSWER, _END = 5.0, 10.0, 25.0
_SILENCES = 2  # in a row; a head that restarts answers again


def prepare_to_join(address: str) -> None:
    """Ray itself asks a silent address for more than ten minutes, and sends its token only when told to.

    Raises:
        UserError: nothing listens at host:port.
    """
    token = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if token or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "//" in host:
        return  # `auto`, or Ray Client's ray://
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise no_ray(address, error) from error


def no_ray(address: str | None, error: Exception) -> UserError:
    """The refusal when no Ray can be joined, or started."""
    reason = str(error).splitlines()[0]
    if address is None:
        return UserError(f"Ray can't start here ({reason}); run in one process with --local")
    return UserError(
        f"no Ray answers at {address!r} ({reason}): start one with `ray start --head`, or leave --address out"
    )


# -- while it lasts


@contextlib.contextmanager
def watch_ray() -> Iterator[None]:
    """Watches the connected Ray while the block runs, and leaves it afterwards; in the main thread only.

    Tune waits for ever on a raylet or a head that died.

    Within a minute of Ray's death the block is interrupted; the process ends if even that does not help.

    Raises:
        RayLostError: Ray died.
    """
    import ray

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
        import ray

        alive: list[bool] = []

        def ask() -> None:
            with contextlib.suppress(Exception):  # whatever it says, it is no answer
                alive.append(any(node["NodeID"] == self._node and node["Alive"] for node in ray.nodes()))

        question = threading.Thread(target=ask, name="ray-question", daemon=True)
        question.start()
        question.join(_ANSWER)
        return any(alive)
