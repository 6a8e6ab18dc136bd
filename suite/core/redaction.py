"""Addresses without their secrets, for every place that shows one. Standard library only."""

from __future__ import annotations

import re

_HIDDEN = "***"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_SERVER = r"(\[[\w:]+\]|[\w.,-]*)(:\d+)?"
# An address that has no login. A server's path may have an @; in a database's it may be the end of a password.
_NO_LOGIN = {True: re.compile(rf"{_SERVER}(/.*)?"), False: re.compile(rf"(/.*|{_SERVER}(/[^@?]*)?(\?\w+=.*)?)")}
_SECRET = re.compile(r"(?i)pass|pwd|secret|token|key|credential|signature")


def redact_uri(uri: str) -> str:
    """The address without passwords, tokens and keys, whatever characters they have: rather too little than too much.

    A database's user stays; a server's login goes, since its user may be a token, and the address still serves.

    >>> redact_uri("postgresql://me:se@cret@db/ml?sslkey=x&user=me")
    'postgresql://me:***@db/ml?sslkey=***&user=me'
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    login = ""
    is_server = scheme in ("http", "https")
    if "@" in rest and not _NO_LOGIN[is_server].fullmatch(rest):
        login, _, rest = rest.rpartition("@")
        login = "" if is_server else _redact_login(login)
    place, mark, query = rest.partition("?")
    return f"{scheme}://{login}{place}{mark}{_redact_query(query)}"


def redact_text(text: str) -> str:
    """A message, with the secrets of every address in it hidden."""
    return _ADDRESS.sub(lambda match: redact_uri(match.group()), text)


def _redact_login(login: str) -> str:
    user, colon, _ = login.partition(":")
    return f"{user}:{_HIDDEN}@" if colon else f"{user}@"


def _redact_query(query: str) -> str:
    pieces = []
    for piece in re.split("([&;])", query):
        name, equals, _ = piece.partition("=")
        pieces.append(f"{name}={_HIDDEN}" if equals and _SECRET.search(name) else piece)
    return "".join(pieces)
