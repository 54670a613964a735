"""Which errors mean that a request cannot be served now, and may be repeated later."""

from __future__ import annotations

import math

from sqlalchemy.exc import DBAPIError, OperationalError

from sqla_typedpool.errors import PoolClosed, PoolSaturated, PoolTimeout, StatementTimeout

_LATER = 5  # seconds, where the pool has no estimate

UNAVAILABLE_ERRORS: tuple[type[Exception], ...] = (
    PoolTimeout,
    PoolSaturated,
    PoolClosed,
    StatementTimeout,
    DBAPIError,
    ConnectionRefusedError,
)


def seconds_until_retry(error: BaseException) -> int | None:
    """Return the value of the header ``Retry-After``.

    :param error: what a request has raised.
    :return: None if the error does not mean that the database is unavailable: the statement may
        be wrong, or too slow.
    """
    if isinstance(error, StatementTimeout) and error.stage == "executing":
        return None
    if isinstance(error, (PoolTimeout, PoolSaturated, StatementTimeout)):
        return max(1, math.ceil(error.retry_after or 1))
    if isinstance(error, (PoolClosed, ConnectionRefusedError)):
        return _LATER
    if not isinstance(error, DBAPIError):
        return None
    is_connect_error = isinstance(error, OperationalError) and error.statement is None
    return _LATER if error.connection_invalidated or is_connect_error else None
