"""Opens a connection in a checked-out entry whose own a listener has rejected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sqla_typedpool._asyncio.tasks import BackgroundTasks, error_of, rename
from sqla_typedpool._asyncio.timers import Deadline
from sqla_typedpool.pool.connecting import connect
from sqla_typedpool.pool.connector import Connector
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.stats import CloseReason, Counters
from sqla_typedpool.pool.unserved import UnservedCheckouts


class ReconnectOwner(Protocol):
    """What a reconnect needs of its pool."""

    slots: Slots[PoolEntry]
    counters: Counters
    # Why connections of an older generation are closed.
    ends_as: CloseReason

    def track(self, entry: PoolEntry, now: float) -> None:
        """A connection has been opened in this entry."""

    def untrack(self, entry: PoolEntry, reason: CloseReason) -> None:
        """Its connection is no longer the pool's."""

    def opening_failed(self, entry: PoolEntry) -> None:
        """An attempt has ended without a connection that can be used."""

    def serve_waiters(self) -> None:
        """Serve the waiters that can be served now."""


@dataclass(eq=False)
class Reconnector:
    """Reconnects the entries of one event loop."""

    owner: ReconnectOwner
    connector: Connector
    unserved: UnservedCheckouts
    shared: Shared
    tasks: BackgroundTasks
    clock: Callable[[], float]

    async def reconnect(self, entry: PoolEntry) -> Any:
        """Open a connection in ``entry``, and return it.

        The borrower waits for it, within the deadline of its checkout; the work is done in a
        task of the pool, as for every connect.

        :raises PoolTimeout: the deadline of the checkout has passed.
        """
        self.owner.untrack(entry, CloseReason.INVALIDATED)
        started, generation = self.clock(), self.connector.generation
        in_thread = self.shared.backend.driver.works_in_thread
        task = self.tasks.spawn(self._open_again(entry), "reconnect", error_of, in_thread=in_thread)
        entry.is_reusable = False  # until it is connected
        try:
            await asyncio.wait({task}, timeout=self._time_left(entry, started))
        except asyncio.CancelledError:
            self.unserved.cancelled(self.unserved.of_current_task("connecting", started))
            raise
        finally:
            if not task.done():
                # not used, even if the reconnect succeeds
                entry.evict(CloseReason.INVALIDATED)
                self.owner.slots.start_opening()
                rename(task, "connect")  # that nobody waits for
                task.add_done_callback(partial(self._reconnected_late, entry), context=Context())
                task.cancel()
        if not task.done():
            raise self.unserved.timed_out(self.unserved.of_current_task("connecting", started))
        entry.is_reusable = True
        if task.exception() is not None:
            self.owner.counters.connect_failures += 1
        task.result()
        self.owner.track(entry, self.clock())
        if generation != self.connector.generation:
            entry.evict(self.owner.ends_as)
        self.owner.counters.connect_time.add(self.clock() - started)
        return entry.dbapi_connection

    async def _open_again(self, entry: PoolEntry) -> None:
        # the server may accept one connection only
        while (
            self.owner.slots.total > self.owner.slots.limits.max_total and self.owner.slots.closing
        ):
            await self.tasks.wait_closed(self.shared.options.pool_reset_timeout)
            await asyncio.sleep(0)
        deadline = Deadline(self.tasks.loop, self.connector.connect_timeout)
        await connect(entry, self.shared.backend, self.shared.first_connect, deadline)

    def _time_left(self, entry: PoolEntry, now: float) -> float:
        """What is left of the deadline of this entry's checkout, in seconds."""
        timeout, limit = self.shared.timeout, self.connector.connect_timeout
        if timeout is None or timeout <= 0:
            return limit
        spent = now - (entry.checked_out_at if entry.checked_out_at is not None else now)
        return min(limit, max(0.0, timeout - spent))

    def _reconnected_late(self, entry: PoolEntry, task: asyncio.Task[None]) -> None:
        """Close a reconnect whose borrower no longer waits."""
        self.owner.opening_failed(entry)
        self.owner.serve_waiters()
