"""Which errors mean that a request cannot be served now, and may be repeated later."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Iterator
from traceback import walk_tb

import sqlalchemy
from sqlalchemy.exc import DBAPIError

from sqla_typedpool.errors import PoolClosed, PoolSaturated, PoolTimeout, StatementTimeout
from sqla_typedpool.pool import connecting
from sqla_typedpool.pool.connect_errors import classify, is_read_only
from sqla_typedpool.pool.connect_rules import ErrorKind

DETAIL = "the database is not available"
_LATER = 5  # seconds, where the pool has no estimate


def unavailable_errors() -> tuple[type[Exception], ...]:
    """Return the classes to handle; `seconds_until_retry` decides about each of their objects.

    Classes of other packages are among them if the application has imported these packages.
    """
    return (
        *(PoolTimeout, PoolSaturated, PoolClosed, StatementTimeout, DBAPIError, OSError),
        *(() if issubclass(asyncio.TimeoutError, OSError) else (asyncio.TimeoutError,)),
        *_of_other_packages(),
    )


def _of_other_packages() -> Iterator[type[Exception]]:
    if "advanced_alchemy.exceptions" in sys.modules:
        yield sys.modules["advanced_alchemy.exceptions"].RepositoryError
    if "asyncpg" in sys.modules and sqlalchemy.__version__.startswith("2.0."):
        yield sys.modules["asyncpg"].PostgresError  # of a connect, which 2.0 does not wrap


def seconds_until_retry(error: BaseException) -> int | None:
    """Return the value of the header ``Retry-After``.

    :param error: what a request has raised.
    :return: None if the error does not mean that the database is unavailable: the statement may
        be wrong, or too slow, or the password. Neither does the loss of a connection during
        COMMIT: a request that may have been stored is not to be repeated.
    """
    if isinstance(error, StatementTimeout) and error.stage == "executing":
        return None
    if isinstance(error, (PoolTimeout, PoolSaturated, StatementTimeout)):
        return max(1, math.ceil(error.retry_after or 1))
    if isinstance(error, PoolClosed):
        return _LATER
    if _is_connect_error(error):
        return _LATER if classify(error) in (ErrorKind.TRANSIENT, ErrorKind.FULL) else None
    if isinstance(error, DBAPIError):
        is_lost = error.connection_invalidated and error.statement is not None
        is_elsewhere = error.orig is not None and is_read_only(error.orig)  # after a failover
        return _LATER if is_lost or is_elsewhere else None
    if type(error).__module__.startswith("advanced_alchemy.") and error.__cause__ is not None:
        return seconds_until_retry(error.__cause__)
    return None


def _is_connect_error(error: BaseException) -> bool:
    """Whether the pool has raised an error when it connected; other code has an OSError as well."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return any(each.f_globals.get("__name__") == connecting.__name__ for each in frames)
