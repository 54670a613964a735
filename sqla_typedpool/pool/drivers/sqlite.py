"""aiosqlite."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from sqla_typedpool.pool.drivers.base import Driver


class Aiosqlite(Driver):
    """SQLite through aiosqlite, which has a thread for each connection."""

    adapter = "AsyncAdapt_aiosqlite_connection"
    needs_ping = False
    terminates_gracefully = False
    connects_in_thread = True

    def force_close(self, connection: Any) -> Awaitable[object] | None:
        # Its thread reports its end to the event loop; one that has ended never answers.
        end: Awaitable[object] | None = connection.stop() if connection._running else None
        return end
