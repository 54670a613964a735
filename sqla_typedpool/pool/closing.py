"""The job that closes one connection.

It starts at once, in the caller's path, so that the caller no longer has the connection;
a task completes it if it has to await. It has a limit; past it the connection is
aborted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqla_typedpool._asyncio.tasks import BackgroundTasks, error_of
from sqla_typedpool._asyncio.timers import Deadline
from sqla_typedpool._sqlalchemy.greenlets import Suspended, run_until_await
from sqla_typedpool.pool.backend import Backend, CloseMode
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.log import LogEvent, PoolLog

# The drivers' own limit for a graceful close after an error is 2 s. This one is a
# little longer, so that it acts only where the driver's does not.
CLOSE_TIMEOUT = 2.25


@dataclass(frozen=True)
class ClosingJob:
    """Closes one connection."""

    backend: Backend
    tasks: BackgroundTasks
    log: PoolLog
    # The limit of the part that awaits.
    seconds: float
    # Called once, when the socket is closed.
    on_closed: Callable[[], object]

    def close_entry(self, entry: PoolEntry, mode: CloseMode) -> None:
        """Fire the ``close`` event, and close the entry's connection.

        Before an abort ``invalidate`` is fired, as the stock pool does for a connection
        that it finds dead.
        """
        self._start(entry.dbapi_connection, partial(self._fire_and_close, entry, mode))

    def close_connection(self, connection: Any, mode: CloseMode) -> asyncio.Task[None] | None:
        """Close a connection whose ``close`` event has been fired.

        :return: the task that does it, if it is not done already.
        :raises BaseException: what interrupts the part that runs at once.
        """
        return self._start(connection, partial(self.backend.close, connection, mode), raises=True)

    def _fire_and_close(self, entry: PoolEntry, mode: CloseMode) -> None:
        try:
            if mode is CloseMode.ABORT:
                entry.fire_invalidate(None if entry.cancelled is None else entry.cancelled.error)
            entry.fire_close()
        finally:  # also if a listener of the application raises
            self.backend.close(entry.detach_connection(), mode)

    def _start(
        self, connection: Any, close: Callable[[], None], *, raises: bool = False
    ) -> asyncio.Task[None] | None:
        try:
            suspended = run_until_await(close)
        except BaseException as error:
            self._ended(connection, error)
            if raises:
                raise
            return None
        if suspended is None:
            self.on_closed()
            return None
        on_done = partial(self._finished, connection, suspended)
        job, in_thread = self._finish(connection, suspended), self.backend.driver.works_in_thread
        return self.tasks.spawn(job, "close", on_done, in_thread=in_thread)

    async def _finish(self, connection: Any, suspended: Suspended) -> None:
        abort = partial(self.backend.close, connection, CloseMode.ABORT)
        with Deadline(self.tasks.loop, self.seconds, on_expired=abort) as deadline:
            try:
                await suspended.resume()
            except asyncio.CancelledError:
                if not deadline.is_expired:
                    raise

    def _finished(self, connection: Any, suspended: Suspended, task: asyncio.Task[None]) -> None:
        suspended.cancel()  # if the task was cancelled before its first step
        self._ended(connection, error_of(task))

    def _ended(self, connection: Any, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, Exception):
            # a cancellation, such as at the end of the loop
            with suppress(BaseException):  # the slot is freed in any case
                self.backend.close(connection, CloseMode.ABORT)
        self.on_closed()
        if isinstance(error, Exception):  # a listener's: the connection has been closed
            self._log_failure(self.backend.masked(error), error)

    def _log_failure(self, text: str, error: Exception) -> None:
        self.log.warning(
            LogEvent.CLOSE_FAILED,
            "closing a connection failed: %s",
            text,
            exc_info=error,
            error=text,
        )
