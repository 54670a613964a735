"""aiosqlite."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from sqla_typedpool.pool.drivers.base import Driver, Probe, always_alive, never_in_transaction


class Aiosqlite(Driver):
    """SQLite through aiosqlite, which has a thread for each connection."""

    adapter = "AiosqliteAdapter"
    needs_ping = False
    terminates_gracefully = False
    works_in_thread = True
    # ``connect(autocommit=False)`` of Python 3.12 and later; the attribute ``autocommit`` can be
    # read in the connection's own thread only, ``in_transaction`` in any.
    may_begin_implicitly = True

    def make_probe(self, connection: Any) -> Callable[[], int]:
        may_be_in_transaction = self.make_transaction_check(connection)
        if may_be_in_transaction is never_in_transaction:
            return always_alive

        def probe() -> int:
            return Probe.IN_TRANSACTION if may_be_in_transaction() else Probe.ALIVE

        return probe

    def make_transaction_check(self, connection: Any) -> Callable[[], bool]:
        raw: Any = getattr(connection, "_connection", None)
        if not isinstance(getattr(raw, "in_transaction", None), bool):
            return never_in_transaction
        calls = _watched_calls(connection)

        def may_be_in_transaction() -> bool:
            try:
                return bool(raw.in_transaction) or calls.may_run()
            except Exception:  # noqa: BLE001 - it is closed
                return False

        return may_be_in_transaction

    def force_close(self, connection: Any) -> Awaitable[object] | None:
        # Its thread reports its end to the event loop; one that has ended never answers.
        if not connection._running:
            return None
        if not isinstance(connection._tx, _Calls) or connection._tx.may_run():
            _interrupt(connection._connection)
        if not hasattr(connection, "stop"):
            return _stop(connection)
        if connection._connection is not None:
            connection._tx.put_nowait((None, partial(_roll_back, connection._connection)))
        end: Awaitable[object] | None = connection.stop()
        return end


def _interrupt(raw: Any) -> None:
    """End a running statement: the thread would close the connection after it only."""
    with suppress(Exception):  # it is closed
        raw.interrupt()


def _stop(connection: Any) -> Awaitable[object]:
    """Close a connection of aiosqlite 0.21 or older, and end its thread."""
    raw, connection._connection = connection._connection, None
    end = asyncio.get_running_loop().create_future()  # this thread needs one for each call
    connection._tx.put_nowait((end, partial(_close, raw)))
    connection._stop_running()
    return end


def _close(raw: Any) -> None:
    if raw is not None:
        _roll_back(raw)
        raw.close()


def _roll_back(raw: Any) -> None:
    """End the transaction of a connection that is to be closed.

    SQLite closes a connection with an unfinished statement only when the statement is
    collected, which may be late: the traceback of a cancellation refers to its cursor. Until
    then the transaction would keep its locks.
    """
    if not raw.in_transaction:
        return
    try:
        raw.execute("ROLLBACK")  # ``rollback()`` does nothing with ``autocommit=True``
    except sqlite3.OperationalError:
        # SQLite forgets an interruption only when no statement is unfinished, such as an
        # INSERT ... RETURNING whose rows have not been read.
        for each in gc.get_referrers(raw):
            if isinstance(each, sqlite3.Cursor):
                each.close()
        raw.execute("ROLLBACK")


class _Calls:
    """The queue of a connection's thread, with a note of the latest call.

    The thread runs one call after the other, so none is running or queued when the latest one
    has ended. A call whose caller was cancelled goes on, and its future does not show its end.
    """

    def __init__(self, queue: Any) -> None:
        self._put = queue.put_nowait
        self._latest: Any = None
        # the thread of aiosqlite 0.21 and older reads the connection's attribute
        self.get, self.get_nowait = queue.get, queue.get_nowait

    def put_nowait(self, call: Any) -> None:
        """Queue a call; its first part is the future, its second the function.

        A call without a future begins no transaction. aiosqlite 0.21 queues an object that is no
        call to end its thread.
        """
        if isinstance(call, tuple) and call[0] is not None:
            self._latest = call[0]
        self._put(call)

    def may_run(self) -> bool:
        """Whether a call may be running or queued."""
        future = self._latest
        return future is not None and (future.cancelled() or not future.done())


def _watched_calls(connection: Any) -> _Calls:
    if not isinstance(connection._tx, _Calls):
        connection._tx = _Calls(connection._tx)
    calls: _Calls = connection._tx
    return calls
