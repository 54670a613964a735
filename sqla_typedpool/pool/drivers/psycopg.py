"""psycopg 3, asynchronous."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqla_typedpool.pool.drivers.base import Driver, Probe
from sqla_typedpool.pool.drivers.sockets import poll


class Psycopg(Driver):
    """PostgreSQL through psycopg."""

    has_ping = True
    adapter = "AsyncAdapt_psycopg_connection"
    can_abort = True
    connect_timeout_argument = "connect_timeout"
    reports_read_only = True
    failed_commit_ends_transaction = True

    def make_probe(self, connection: Any) -> Callable[[], int]:
        poll_socket = poll(connection.fileno())
        pgconn = connection.pgconn

        def probe() -> int:
            if pgconn.status:
                return Probe.DEAD
            return poll_socket() or (Probe.IN_TRANSACTION if pgconn.transaction_status else 0)

        return probe

    def make_transaction_check(self, connection: Any) -> Callable[[], bool]:
        # 0 = idle; a statement that has not ended counts as well
        return partial(getattr, connection.pgconn, "transaction_status")

    async def ping(self, connection: Any) -> None:
        # Outside a transaction this is one round trip; psycopg_pool checks in the same way.
        if connection.autocommit or connection.info.transaction_status:
            await connection.execute("")
            return
        await connection.set_autocommit(True)  # no round trip
        try:
            await connection.execute("")
        finally:
            if not connection.closed:
                await connection.set_autocommit(False)

    def descriptor(self, connection: Any) -> int:
        return int(connection.fileno())

    def force_close(self, connection: Any) -> None:
        connection.pgconn.finish()

    def server_mode(self, adapted: Any) -> object:
        parameter = adapted.driver_connection.info.parameter_status
        standby, read_only = parameter("in_hot_standby"), parameter("default_transaction_read_only")
        return None if standby is None else (standby, read_only)
