"""A PostgreSQL server of this machine's, in a folder of its own. Tests are skipped where there is none to start."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def find_programs() -> Path:
    """Where initdb and pg_ctl are; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    for folder in reversed(folders):
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip("no PostgreSQL server is installed (initdb, pg_ctl)")


class PostgresServer:
    """One that wants a password. PostgreSQL refuses to run as root, so root lends it to `nobody`.

    Attributes:
        uri: of its database, password included.
    """

    def __init__(self, folder: Path) -> None:
        self._programs, self._folder = find_programs(), folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri = f"postgresql://me:secret@127.0.0.1:{self._port}/postgres"
        password = folder / "password"
        password.write_text("secret\n")
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
            for path in (folder, password):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        self._call("initdb", "-D", self._data, "-U", "me", "-A", "scram-sha-256", "--pwfile", password, "-N")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _call(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._folder, timeout=120, **self._user)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._call("pg_ctl", "-D", self._data, "-l", self._folder / "log", "-w", "-o", options, "start")

    def stop(self) -> None:
        """At once, with whatever is connected: what a crash leaves."""
        self._call("pg_ctl", "-D", self._data, "-m", "immediate", "stop")


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="graftbench-postgres-"))  # not below a test's own, which only root may enter
    server = PostgresServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
