"""Addresses of databases that a study names, looked at before anything starts; nothing is written.

Every refusal begins with the key's path in the study file and shows no password.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from suite.core.errors import UserError
from suite.core.redaction import redact_text, redact_uri


class Owner(NamedTuple):
    """Whose database it must be, where it holds anything.

    Attributes:
        key: of the study file, where the address stands.
        table: that all its databases have.
    """

    key: str
    name: str
    table: str


def sqlite_path(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///"))


def check_sqlite(owner: Owner, path: Path) -> None:
    """
    Raises:
        UserError: no database of the owner's can be there.
    """
    if path.is_dir():
        raise UserError(
            f"{owner.key}: {path} is a folder; name a file in it, like sqlite:///{path}/{owner.name.lower()}.db"
        )
    if not path.is_file():
        parent = next(folder for folder in path.absolute().parents if folder.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise UserError(f"{owner.key}: can't create {path}: {parent} is not a writable folder")
        return
    tables = _list_tables(owner, path)
    if tables and owner.table not in tables:
        raise UserError(f"{owner.key}: {path} is a database of something else than {owner.name}; name another file")
    if not os.access(path, os.W_OK):
        raise UserError(f"{owner.key}: {path} can't be written; change its permissions, or name another")


def _list_tables(owner: Owner, path: Path) -> set[str]:
    try:
        # Not read-only: what a killed run had half written is undone by whoever opens it first.
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
            return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        raise UserError(f"{owner.key}: {path} can't be read now ({error}); run the command again") from error
    except sqlite3.DatabaseError as error:
        raise UserError(f"{owner.key}: {path} is not an SQLite database ({error}); name another file") from error


def check_database(owner: Owner, uri: str, taken: str = "") -> None:
    """
    Args:
        taken: a table with which the database is another program's.

    Raises:
        UserError: no database answers there, or it is taken.
    """
    import sqlalchemy

    try:
        url = sqlalchemy.make_url(uri)
        with sqlalchemy.create_engine(url).connect() as connection:
            is_taken = bool(taken) and sqlalchemy.inspect(connection).has_table(taken)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:  # not shown: it may hold a password
        raise UserError(f"{owner.key}: not the address of a database; write postgresql://USER@HOST/NAME") from error
    except ImportError as error:
        driver = f"the driver of {url.drivername} is not installed ({error})"
        raise UserError(f"{owner.key}: {driver}; install it") from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = redact_text(str(error).splitlines()[0])
        raise UserError(
            f"{owner.key}: no database answers at {redact_uri(uri)} ({reason}); start it, or name another"
        ) from error
    if is_taken:
        raise UserError(f"{owner.key}: {redact_uri(uri)} is not {owner.name}'s; name a database of its own")
