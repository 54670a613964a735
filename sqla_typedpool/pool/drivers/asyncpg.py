"""asyncpg."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqla_typedpool.pool.drivers.base import Driver
from sqla_typedpool.pool.drivers.sockets import descriptor_of


class Asyncpg(Driver):
    """PostgreSQL through asyncpg."""

    has_ping = True
    adapter = "AsyncAdapt_asyncpg_connection"
    dialect_ping_opens_transaction = False
    can_abort = True
    connect_timeout_argument = "timeout"
    reports_read_only = True

    def make_probe(self, connection: Any) -> Callable[[], int]:
        is_closed: Callable[[], int] = connection.is_closed
        return is_closed

    async def ping(self, connection: Any) -> None:
        # The simple protocol: one message each way, legal behind PgBouncer in
        # transaction mode. Not ";": asyncpg 0.32 fails on the empty response.
        await connection.execute("select")

    def descriptor(self, connection: Any) -> int:
        return descriptor_of(connection._transport.get_extra_info("socket"))

    def server_mode(self, adapted: Any) -> object:
        # PostgreSQL 14 and later report both settings, and every change of them
        settings = adapted.driver_connection.get_settings()
        standby = getattr(settings, "in_hot_standby", None)
        return None if standby is None else (standby, settings.default_transaction_read_only)
