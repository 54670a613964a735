"""aiosqlite: the queue of a connection's thread, also that of aiosqlite 0.21 and older."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import aiosqlite
import pytest

from sqla_typedpool.pool.drivers.sqlite import Aiosqlite

ENDLESS = """
    WITH RECURSIVE t(n) AS (SELECT begun() IS NULL UNION ALL SELECT n + 1 FROM t WHERE n < 9e9)
    SELECT sum(n) FROM t
"""
STOP = object()  # what aiosqlite 0.21 queues to end its thread


def old_connection() -> Any:
    """Return a stand-in for a connection of aiosqlite 0.21, which has no `stop()`."""
    connection = SimpleNamespace(
        _running=True, _connection=sqlite3.connect(":memory:"), _tx=SimpleQueue()
    )
    connection._stop_running = lambda: connection._tx.put_nowait(STOP)
    return connection


def test_an_object_that_ends_the_thread_can_be_queued() -> None:
    connection = old_connection()
    may_be_in_transaction = Aiosqlite().make_transaction_check(connection)
    connection._stop_running()
    assert connection._tx.get() is STOP
    assert not may_be_in_transaction()
    connection._connection.close()


def test_a_call_that_nobody_awaits_does_not_hide_one_that_runs() -> None:
    async def main() -> None:
        connection = old_connection()
        may_be_in_transaction = Aiosqlite().make_transaction_check(connection)
        running = asyncio.get_running_loop().create_future()
        connection._tx.put_nowait((running, int))
        connection._tx.put_nowait((None, int))
        assert may_be_in_transaction()
        running.set_result(None)
        assert not may_be_in_transaction()
        connection._connection.close()

    asyncio.run(main())


def test_an_old_connection_is_closed_and_its_transaction_ended() -> None:
    async def main() -> None:
        connection = old_connection()
        raw = connection._connection
        raw.execute("BEGIN")
        end = Aiosqlite().force_close(connection)
        future, close = connection._tx.get()
        assert future is end
        assert raw.in_transaction
        close()
        assert connection._tx.get() is STOP
        try:
            raw.execute("SELECT 1")
        except sqlite3.ProgrammingError:
            return
        raise AssertionError("it is open")

    asyncio.run(main())


@pytest.mark.timeout(60)
def test_closing_a_connection_interrupts_its_statement() -> None:
    """The statement would run for minutes; the connection would be closed after it only."""

    async def main() -> None:
        connection = await aiosqlite.connect(":memory:")
        has_begun = threading.Event()
        await connection.create_function("begun", 0, has_begun.set)
        running = asyncio.ensure_future(connection.execute(ENDLESS))
        await asyncio.to_thread(has_begun.wait)
        end = Aiosqlite().force_close(connection)
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            await running
        assert end is not None
        await end

    asyncio.run(main())
