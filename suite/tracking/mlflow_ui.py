"""The MLflow UI on a study's store."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

from rich.console import Console

from suite.core.errors import UserError
from suite.core.redaction import redact_uri


def serve_ui(uri: str, port: int, console: Console) -> None:
    """Run the UI until Ctrl-C; a store that is a server already has its own."""
    if urlsplit(uri).scheme in {"http", "https"}:
        console.print(f"the study's store is a server with its own UI: {redact_uri(uri)}")
        return
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"port {port} is taken: name another with --port")
    console.print(f"MLflow UI on http://127.0.0.1:{port} (Ctrl-C ends it); store: {redact_uri(uri)}", soft_wrap=True)
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    # In the environment, since a process list shows arguments, passwords included.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    with subprocess.Popen(command, env=environment, start_new_session=True) as server:
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            server.wait()
        finally:  # it has workers of its own
            signal.signal(signal.SIGTERM, before)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
