"""Which errors of a request the injected faults explain."""

from __future__ import annotations

import asyncio
import traceback

from sqlalchemy.exc import DBAPIError

from sqla_typedpool import PoolTimeout
from sqla_typedpool.pool.connect_errors import classify
from sqla_typedpool.pool.connect_rules import ErrorKind

# SQLSTATEs of connects and statements that fail because of the server or the network: connection
# exceptions, a shutdown, a crash, a server that is still starting, a server that is full.
_STATES = ("08", "57P01", "57P02", "57P03", "53300")


class Violation(AssertionError):
    """The pool did something that no fault excuses."""


def is_expected(error: BaseException, stage: str) -> bool:
    """Whether dead servers, silent networks or refused connects explain this error."""
    if isinstance(error, RuntimeError) and "the handler is closed" in str(error):
        # uvloop raises this for a write to a dead connection, and aiomysql does not turn it into an
        # own error. A statement may raise it with any pool; a checkout may not.
        return stage != "checkout"
    if isinstance(error, DBAPIError):
        if "another operation" in str(error.orig):
            # The connection has two users. The exception is asyncpg's "(2)": asyncpg has read a
            # FATAL error between two statements, and the connection is about to be closed.
            return "another operation (2)" in str(error.orig) and error.connection_invalidated
        return error.connection_invalidated or is_expected_of_driver(error.orig)
    return isinstance(error, (PoolTimeout, OSError, asyncio.TimeoutError)) or (
        is_expected_of_driver(error)
    )


def is_expected_of_driver(error: BaseException | None) -> bool:
    """The same for an error of the driver itself."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if isinstance(state, str):
        return state.startswith(_STATES)
    # psycopg's failed connects carry no SQLSTATE
    passes = (ErrorKind.TRANSIENT, ErrorKind.FULL)
    return error is not None and classify(error) in passes


def traceback_text(error: BaseException) -> str:
    """The error with its causes, as text: a stored error would keep frames and sockets alive."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return "".join(lines)[-6000:]


def short_name(error: BaseException) -> str:
    """The type of the error, with the driver's type for those that SQLAlchemy has wrapped."""
    origin = getattr(error, "orig", None)
    cause = getattr(origin, "__cause__", None) or origin
    inner = f"({type(cause).__name__})" if cause is not None else ""
    return f"{type(error).__name__}{inner}"
