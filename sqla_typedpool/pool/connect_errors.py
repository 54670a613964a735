"""Classifies connect errors: is another attempt worth it?

A transient error (the server restarts, the network is away) is retried in the
background while callers wait. A full server is waited for. Every other error, and
every unknown one, is given to the caller at once.

SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html
MySQL: https://dev.mysql.com/doc/mysql-errors/8.0/en/
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from enum import Enum
from typing import Any


class ErrorKind(Enum):
    """What a connect error means for the next attempt."""

    # The server did not answer, or not yet: try again.
    TRANSIENT = "transient"
    # The server answers but has no connection to spare.
    FULL = "full"
    # Another attempt would fail as well: authentication, unknown database, TLS, unknown.
    FATAL = "fatal"


_TRANSIENT_STATES = frozenset({"57P03", "57P01", "57P02", "08000", "08001", "08003", "08006"})
_FULL_STATES = frozenset({"53300"})
# 1053/1077/1079 shutdown, 1152/1184/1927 connection aborted or killed, 1158-1161 network,
# 2002/2003 can't connect, 2005 unknown host, 2006/2013/2055 connection lost, 2012 handshake
_TRANSIENT_MYSQL = frozenset(
    {1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927}
    | {2002, 2003, 2005, 2006, 2012, 2013, 2055}
)
_READ_ONLY_MYSQL = frozenset({1290, 1836})
# 1040 too many, 1135 no thread for another, 1203 too many of this user
_FULL_MYSQL = frozenset({1040, 1135, 1203})
_USER_LIMIT_MYSQL = 1226  # of connections, or of queries per hour

# libpq reports most connect failures as text without an SQLSTATE.
_TRANSIENT_TEXTS = (
    *("connection refused", "connection reset", "connect call failed", "timeout expired"),
    *("could not receive data", "could not send data", "connection was closed in the middle"),
    *("server closed the connection unexpectedly", "unexpected connection_lost"),
    *("could not translate host name", "name resolution", "name or service not known"),
    *("network is unreachable", "no route to host", "terminating connection"),
    *("the database system is starting up", "the database system is shutting down"),
    *("the database system is in recovery mode", "is not yet accepting connections"),
    "accepting connections on that socket",  # a Unix socket: gone or refused
)
_TRANSIENT_ERRNOS = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
)
_FULL_TEXTS = ("too many clients already", "remaining connection slots are reserved")


def classify(error: BaseException) -> ErrorKind:
    """The kind of a connect error; its causes are classified as well."""
    kinds = (_kind_of(each) for each in _chain(error))
    return next((kind for kind in kinds if kind is not None), ErrorKind.FATAL)


def is_read_only(error: BaseException) -> bool:
    """Whether a statement failed because nothing may be written."""
    number = _mysql_number(error)
    if number is not None:
        return number in _READ_ONLY_MYSQL
    return _sqlstate_of(error) == "25006"


def _kind_of(error: BaseException) -> ErrorKind | None:
    # MySQL's numbers first: its errors carry SQLSTATEs too, and vaguer ones
    number = _mysql_number(error)
    if number is not None:
        return _by_number(number, error)
    state = _sqlstate_of(error)
    if isinstance(state, str):
        return _by_sqlstate(state)
    return _by_type(error) or _by_text(str(error).lower())


def _sqlstate_of(error: BaseException) -> object:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _by_sqlstate(state: str) -> ErrorKind:
    if state in _FULL_STATES:
        return ErrorKind.FULL
    return ErrorKind.TRANSIENT if state in _TRANSIENT_STATES else ErrorKind.FATAL


def _by_number(number: int, error: BaseException) -> ErrorKind:
    if number in _FULL_MYSQL:
        return ErrorKind.FULL
    if number == _USER_LIMIT_MYSQL:
        return ErrorKind.FULL if "max_user_connections" in str(error) else ErrorKind.FATAL
    if error.__cause__ is not None and _is_tls(error.__cause__):
        return ErrorKind.FATAL  # the drivers report every OSError as 2003, also those of TLS
    return ErrorKind.TRANSIENT if number in _TRANSIENT_MYSQL else ErrorKind.FATAL


def _by_type(error: BaseException) -> ErrorKind | None:
    if _is_tls(error):
        return ErrorKind.FATAL
    if isinstance(error, (ConnectionError, TimeoutError, asyncio.TimeoutError, socket.gaierror)):
        return ErrorKind.TRANSIENT
    # a Unix socket does not exist while its server restarts; a missing file has a name
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return ErrorKind.TRANSIENT
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS:
        return ErrorKind.TRANSIENT
    return None


def _by_text(text: str) -> ErrorKind | None:
    if any(each in text for each in _FULL_TEXTS):
        return ErrorKind.FULL
    if any(each in text for each in _TRANSIENT_TEXTS):
        return ErrorKind.TRANSIENT
    return None


def _is_tls(error: BaseException) -> bool:
    return any(kind.__module__ == "ssl" for kind in type(error).__mro__)


def _mysql_number(error: BaseException) -> int | None:
    if "mysql" not in type(error).__module__.lower() and "asyncmy" not in type(error).__module__:
        return None
    first: Any = error.args[0] if error.args else None
    return first if isinstance(first, int) and not isinstance(first, bool) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
