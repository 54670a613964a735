"""Which errors of a request dead servers explain, and which nothing does."""

from __future__ import annotations

import asyncio
import traceback

from sqlalchemy.exc import DBAPIError

from sqla_typedpool import PoolTimeout
from sqla_typedpool.pool.outage import Kind, classify

# Connects and statements that fail because of the server or the network: connection exceptions,
# a shutdown, a crash, a start that is not over, a server that is full.
_STATES = ("08", "57P01", "57P02", "57P03", "53300")


class Broken(AssertionError):
    """Something that no fault excuses."""


def is_expected(error: BaseException, stage: str) -> bool:
    """Whether dead servers, silent networks and refused connects explain this error."""
    if isinstance(error, RuntimeError) and "the handler is closed" in str(error):
        # uvloop's words for a write to a dead connection, of which aiomysql makes no error of its
        # own. A statement may meet that with any pool; a checkout may not.
        return stage != "checkout"
    if isinstance(error, DBAPIError):
        if "another operation" in str(error.orig):
            # Two users of one connection; but asyncpg's (2) is a FATAL error that it has read
            # between two statements, and whose end of the connection is still to come.
            return "another operation (2)" in str(error.orig) and error.connection_invalidated
        return error.connection_invalidated or is_expected_of_driver(error.orig)
    return isinstance(error, (PoolTimeout, OSError, asyncio.TimeoutError)) or (
        is_expected_of_driver(error)
    )


def is_expected_of_driver(error: BaseException | None) -> bool:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if isinstance(state, str):
        return state.startswith(_STATES)
    # psycopg's failed connects carry no state
    return error is not None and classify(error) is not Kind.FATAL


def told_of(error: BaseException) -> str:
    """The error with its causes, as text: an error kept would keep frames and sockets."""
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return "".join(lines)[-6000:]


def name_of(error: BaseException) -> str:
    """The error in a word or two: the driver's type for those that SQLAlchemy has wrapped."""
    origin = getattr(error, "orig", None)
    cause = getattr(origin, "__cause__", None) or origin
    inner = f"({type(cause).__name__})" if cause is not None else ""
    return f"{type(error).__name__}{inner}"
