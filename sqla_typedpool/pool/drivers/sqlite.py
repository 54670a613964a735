"""aiosqlite."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqla_typedpool.pool.drivers.base import Driver, Probe, always_alive, never_in_transaction


class Aiosqlite(Driver):
    """SQLite through aiosqlite, which has a thread for each connection."""

    adapter = "AsyncAdapt_aiosqlite_connection"
    needs_ping = False
    terminates_gracefully = False
    connects_in_thread = True
    # ``connect(autocommit=False)`` of Python 3.12 and later; the attribute ``autocommit`` can be
    # read in the connection's own thread only, ``in_transaction`` in any.
    may_begin_implicitly = True

    def make_probe(self, connection: Any) -> Callable[[], int]:
        in_transaction = self.make_transaction_check(connection)
        if in_transaction is never_in_transaction:
            return always_alive

        def probe() -> int:
            return Probe.IN_TRANSACTION if in_transaction() else Probe.ALIVE

        return probe

    def make_transaction_check(self, connection: Any) -> Callable[[], bool]:
        raw: Any = getattr(connection, "_connection", None)
        if not isinstance(getattr(raw, "in_transaction", None), bool):
            return never_in_transaction

        def in_transaction() -> bool:
            try:
                return bool(raw.in_transaction)
            except Exception:  # noqa: BLE001 - it is closed
                return False

        return in_transaction

    def force_close(self, connection: Any) -> Awaitable[object] | None:
        # Its thread reports its end to the event loop; one that has ended never answers.
        end: Awaitable[object] | None = connection.stop() if connection._running else None
        return end
