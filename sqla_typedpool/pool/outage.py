"""Is a failed connect worth another try? One classifier per driver family.

Transient errors (the server is restarting, the network is away) are retried in
the background while callers wait; full servers are waited for; anything else,
above all anything unknown, reaches the caller at once.

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

__all__ = ["Kind", "classify", "says_read_only"]


class Kind(Enum):
    """What a connect error says about the next attempt."""

    TRANSIENT = "transient"
    """Nobody answered, or not yet: try again."""
    FULL = "full"
    """The server answers but has no connection to spare."""
    FATAL = "fatal"
    """Another try would fail alike: authentication, unknown database, TLS, unknown."""


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
_USER_LIMIT_MYSQL = 1226  # one of several limits: of connections, of queries per hour

# libpq reports most connect failures as text without an SQLSTATE.
_TRANSIENT_WORDS = (
    "connection refused",
    "connection reset",
    "connection timeout expired",
    "could not receive data",
    "could not send data",
    "could not translate host name",
    "name resolution",
    "name or service not known",
    "network is unreachable",
    "no route to host",
    "server closed the connection unexpectedly",
    "the database system is starting up",
    "the database system is shutting down",
    "the database system is in recovery mode",
    "the database system is not yet accepting connections",
    "terminating connection",
    "timeout expired",
    "connect call failed",
    "connection was closed in the middle",
    "unexpected connection_lost",
    "accepting connections on that socket",  # a Unix socket: gone or refused
)
_TRANSIENT_ERRNOS = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
)
_FULL_WORDS = ("too many clients already", "remaining connection slots are reserved")


def classify(error: BaseException) -> Kind:
    """The kind of a connect error, judged by its whole chain of causes."""
    for each in _chain(error):
        kind = _kind_of(each)
        if kind is not None:
            return kind
    return Kind.FATAL


def says_read_only(error: BaseException) -> bool:
    """Whether a statement failed because nothing may be written."""
    number = _mysql_number(error)
    if number is not None:
        return number in _READ_ONLY_MYSQL
    return _state_of(error) == "25006"


def _kind_of(error: BaseException) -> Kind | None:
    # MySQL's numbers first: its errors carry SQLSTATEs too, and vaguer ones
    number = _mysql_number(error)
    if number is not None:
        return _of_number(number, error)
    state = _state_of(error)
    if isinstance(state, str):
        return _of_state(state)
    return _of_type(error) or _of_words(str(error).lower())


def _state_of(error: BaseException) -> object:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _of_state(state: str) -> Kind:
    if state in _FULL_STATES:
        return Kind.FULL
    return Kind.TRANSIENT if state in _TRANSIENT_STATES else Kind.FATAL


def _of_number(number: int, error: BaseException) -> Kind:
    if number in _FULL_MYSQL:
        return Kind.FULL
    if number == _USER_LIMIT_MYSQL:
        return Kind.FULL if "max_user_connections" in str(error) else Kind.FATAL
    if error.__cause__ is not None and _is_tls(error.__cause__):
        return Kind.FATAL  # the drivers say 2003 of every OSError, and TLS errors are such
    return Kind.TRANSIENT if number in _TRANSIENT_MYSQL else Kind.FATAL


def _of_type(error: BaseException) -> Kind | None:
    if _is_tls(error):
        return Kind.FATAL
    if isinstance(error, (ConnectionError, TimeoutError, asyncio.TimeoutError, socket.gaierror)):
        return Kind.TRANSIENT
    # a Unix socket is gone while its server restarts; a missing file has a name
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return Kind.TRANSIENT
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS:
        return Kind.TRANSIENT
    return None


def _of_words(text: str) -> Kind | None:
    if any(words in text for words in _FULL_WORDS):
        return Kind.FULL
    if any(words in text for words in _TRANSIENT_WORDS):
        return Kind.TRANSIENT
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
