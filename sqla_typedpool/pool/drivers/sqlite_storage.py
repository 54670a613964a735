"""Where a SQLite connection keeps its database: in a file, or in memory.

A database in memory, or in a temporary file, is lost with its last connection. A URL does
not tell which one it is: the name may be escaped, relative, that of another VFS, or unknown,
if the application has its own creator. So the connection is queried.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from enum import Enum
from os.path import isabs, isfile
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from sqlalchemy.exc import InvalidRequestError

_NAMES_ARE_SHARED = (3, 36)  # since this version the names of the VFS "memdb" are


class Storage(Enum):
    """What is left of a database when connections to it are closed."""

    # It is not known before the first connection is open.
    UNKNOWN = "unknown"
    # Everything: it is in a file, or on a server.
    LASTING = "lasting"
    # It belongs to one connection, and is lost with it: in memory, or in a temporary file.
    PRIVATE = "private"
    # It is in memory, and lost with the last of its connections.
    SHARED = "shared"


def single_connection_error(pool: str) -> Exception:
    """The error for a caller who would need a second connection to a private database.

    :param pool: the pool's name.
    """
    return InvalidRequestError(
        f"pool {pool}: this SQLite database is in memory, or in a temporary file, and belongs to "
        "one connection: a second one would see an empty database; next: use "
        "poolclass=StaticPool to share the connection, or pool_size=1, max_overflow=0 to let "
        "callers wait for it, or a database that connections share: sqlite+aiosqlite:///file:/NAME?vfs=memdb&uri=true"
    )


# Such a database is lost with its connections, so none is closed without need.
IN_MEMORY = (Storage.PRIVATE, Storage.SHARED)


class _Uri(NamedTuple):
    """The name of a database as a URI; the path is empty if there is none."""

    path: str
    options: Mapping[str, str]


def is_plain_file(arguments: Sequence[Any]) -> bool:
    """Whether these arguments of SQLite's connect function name a file.

    An absolute path is neither ``:memory:`` nor a URI, in which another VFS may be chosen.
    SQLAlchemy makes every path absolute that is not a URI.
    """
    return bool(arguments) and isabs(str(arguments[0]))


def is_stand_in(adapted: Any) -> bool:
    """Whether it is neither SQLAlchemy's adapter of a connection nor one of ``sqlite3``: a mock."""
    packages = {kind.__module__.partition(".")[0] for kind in type(adapted).__mro__}
    return packages.isdisjoint(("sqlalchemy", "sqlite3"))


def query_storage(adapted: Any, connection: Any) -> Storage:
    """Query a connection for the storage of its main database.

    An attached database does not count: whatever attaches it does so on each connection.

    :param adapted: SQLAlchemy's adapter of it, in a greenlet.
    :param connection: the driver's own connection.
    """
    cursor = adapted.cursor()
    try:
        file = _first_row(cursor, "PRAGMA database_list")[2]  # it reads no file, and needs no lock
        uri = _uri_of(connection, file)
        if not file:
            return Storage.SHARED if _shares_cache(uri) else Storage.PRIVATE
        if uri.options.get("vfs") != "memdb" and (isfile(file) or not _has_no_journal(cursor)):
            return Storage.LASTING
    finally:
        cursor.close()
    is_shared = _is_shared_name(file) or uri.options.get("cache") == "shared"
    return Storage.SHARED if is_shared else Storage.PRIVATE


def _first_row(cursor: Any, query: str) -> Any:
    cursor.execute(query)
    return cursor.fetchall()[0]


def _has_no_journal(cursor: Any) -> bool:
    return _first_row(cursor, "PRAGMA main.journal_mode")[0] in ("memory", "off")


def _is_shared_name(name: str) -> bool:
    """Whether the connections of a process share a database of the VFS "memdb"."""
    from sqlite3 import sqlite_version_info

    return len(name) > 1 and name[0] in "/\\" and sqlite_version_info >= _NAMES_ARE_SHARED


def _shares_cache(uri: _Uri) -> bool:
    """Whether a database without a file name is in memory, in a cache with a name."""
    options = uri.options
    is_named = uri.path == ":memory:" or (uri.path and options.get("mode") == "memory")
    return bool(is_named) and options.get("cache") == "shared"


def _uri_of(connection: Any, file: str) -> _Uri:
    """The name that aiosqlite was given, if it is a URI.

    aiosqlite keeps it in a closure only. Whether names may be URIs depends also on how SQLite
    was compiled; if not, the name is that of the file.
    """
    connector = getattr(connection, "_connector", None)
    given = inspect.getclosurevars(connector).nonlocals if inspect.isfunction(connector) else {}
    name = given.get("database")
    if not (isinstance(name, str) and name.startswith("file:")) or file.endswith(name):
        return _Uri("", {})
    parts = urlsplit(name)
    return _Uri(unquote(parts.path), dict(parse_qsl(parts.query)))
