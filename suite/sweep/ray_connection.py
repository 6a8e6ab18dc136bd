"""What must hold before Ray is imported to join a running one: something listens there, and a token is sent."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from suite.core.errors import UserError


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
