"""asyncpg."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqla_typedpool._sqlalchemy.asyncpg_adapter import (
    cache_size,
    has_begun,
    is_undone_by_rollback,
    release,
    renewed,
    statements_of,
)
from sqla_typedpool.pool.drivers.base import (
    Driver,
    NotReusable,
    Probe,
    SetAside,
    never_in_transaction,
)
from sqla_typedpool.pool.drivers.sockets import descriptor_of

# Global names are read faster than members of an enumeration.
_ALIVE, _DEAD, _IN_TRANSACTION = Probe.ALIVE.value, Probe.DEAD.value, Probe.IN_TRANSACTION.value

# A session's advisory locks outlive the transaction. So do statements that were prepared in SQL,
# and what a statement without a transaction has created: a session that has any is closed. (The
# condition on ``pg_my_temp_schema()`` alone keeps other sessions from reading ``pg_class``.)
_UNLOCK_AND_CHECK = (
    "SELECT pg_catalog.pg_advisory_unlock_all();"
    "SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql "
    "UNION ALL SELECT FROM pg_catalog.pg_listening_channels() "
    "UNION ALL SELECT FROM pg_catalog.pg_class WHERE pg_catalog.pg_my_temp_schema() <> 0 "
    "AND relnamespace = pg_catalog.pg_my_temp_schema()"
)
# asyncpg forgets a statement whose preparation was cancelled, but the server keeps it: a session
# with more of them than the caches hold is closed. asyncpg's own cache holds 100 by default.
_TOO_MANY = " UNION ALL SELECT WHERE (SELECT count(*) FROM pg_catalog.pg_prepared_statements) > {}"
_MOST_FORGOTTEN = 200
_NOTHING_LEFT = "SELECT 0"  # the status of the last statement counts its rows

# Private attributes of a connection, without which none is kept after a cancelled statement.
_IN_USE = ("_pool_release_ctr", "_top_xact")


class Asyncpg(Driver):
    """PostgreSQL through asyncpg."""

    has_ping = True
    adapter = "AsyncpgAdapter"
    dialect_ping_opens_transaction = False
    can_abort = True
    connect_timeout_argument = "timeout"
    reports_read_only = True
    failed_commit_ends_transaction = True

    def make_probe(self, connection: Any) -> Callable[[], int]:
        protocol = _protocol_of(connection)
        if protocol is None:
            is_closed: Callable[[], int] = connection.is_closed
            return is_closed
        is_connected = protocol.is_connected
        in_transaction = protocol.is_in_transaction

        def probe() -> int:
            if connection._aborted or not is_connected():
                return _DEAD
            # Idle connections have no cancelled statement: the check at their return saw it.
            if in_transaction() or connection._top_xact is not None:
                return _IN_TRANSACTION
            return _ALIVE

        return probe

    def make_transaction_check(self, connection: Any) -> Callable[[], bool]:
        # Three things count. The server is inside a transaction. A `Transaction` whose BEGIN was
        # cancelled is still noted in the connection: the next one would be a savepoint in it, and
        # its COMMIT would release the savepoint only. A cancelled statement has not ended: the
        # state after it is unknown.
        protocol = _protocol_of(connection)
        if protocol is None:
            return never_in_transaction
        in_transaction, is_cancelling = protocol.is_in_transaction, protocol._is_cancelling

        def may_be_in_transaction() -> bool:
            return in_transaction() or connection._top_xact is not None or is_cancelling()

        return may_be_in_transaction

    async def roll_back(self, connection: Any) -> None:
        # Not `reset()`: it would also reset the settings that the application made at connect.
        await connection._protocol._wait_for_cancellation()
        connection._top_xact = None
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")

    async def ping(self, connection: Any) -> None:
        # The simple protocol: one message each way, legal behind PgBouncer in
        # transaction mode. Not ";": asyncpg 0.32 fails on the empty response.
        await connection.execute("select")

    def set_aside(self, connection: Any, adapted: Any, record: Any) -> SetAside | None:
        if not (is_undone_by_rollback(adapted) and _can_end_statement(connection)):
            return None
        began = has_begun(adapted)
        if began and not connection.is_in_transaction():
            return None  # it was ended by a COMMIT in the application's SQL
        new = renewed(adapted, record)
        release(adapted)
        connection._pool_release_ctr += 1  # what is left of this checkout raises InterfaceError
        # The prepared statements are kept. asyncpg would close them one by one in the path of the
        # next borrower, and a cancellation there would leave the rest on the server.
        for prepared in statements_of(new):
            prepared._con_release_ctr = connection._pool_release_ctr
        most = _MOST_FORGOTTEN + cache_size(new)
        return SetAside(new, partial(_end_statement, connection, began, most))

    def descriptor(self, connection: Any) -> int:
        return descriptor_of(connection._transport.get_extra_info("socket"))

    def server_mode(self, adapted: Any) -> object:
        # PostgreSQL 14 and later report both settings, and every change of them
        settings = adapted.driver_connection.get_settings()
        standby = getattr(settings, "in_hot_standby", None)
        return None if standby is None else (standby, settings.default_transaction_read_only)


def _protocol_of(connection: Any) -> Any:
    """Its protocol; None if it is closed, or a stand-in for asyncpg's own class."""
    protocol = getattr(connection, "_protocol", None)
    reads_state = getattr(protocol, "is_in_transaction", None)
    return protocol if reads_state is not None and isinstance(reads_state(), bool) else None


def _can_end_statement(connection: Any) -> bool:
    """Whether this version of asyncpg has what ``_end_statement`` uses."""
    return hasattr(_protocol_of(connection), "_wait_for_cancellation") and all(
        hasattr(connection, name) for name in _IN_USE
    )


async def _end_statement(connection: Any, began: bool, most: int) -> None:
    """Wait until a cancelled statement has ended, and undo what it and the checkout have done.

    :param began: a transaction was begun before the statement.
    :param most: the session may have so many prepared statements.
    """
    await connection._protocol._wait_for_cancellation()
    connection._top_xact = None
    in_transaction = connection.is_in_transaction()
    if began and not in_transaction:
        raise NotReusable("the cancelled statement has ended its transaction")
    # in one message; a ROLLBACK without a transaction would be a warning in the server's log
    rollback = "ROLLBACK;" if in_transaction else ""
    status = await connection.execute(rollback + _UNLOCK_AND_CHECK + _TOO_MANY.format(most))
    if status != _NOTHING_LEFT:
        raise NotReusable("the rollback has left statements, channels or temporary tables")
