"""The fast path of aiosqlite: one hop into the thread of the connection, COMMIT included.

The columns are known when the statement has been executed. If a statement changes data and
returns columns that are new, the thread stops before COMMIT, and a second hop commits or rolls
back.
"""

from __future__ import annotations

from asyncio import Future, get_running_loop
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy.aiosqlite_adapter import (
    driver_connection,
    execute_lock,
    raw_connection,
)
from sqla_typedpool.fetch.fast.sqlite_work import ThreadWork
from sqla_typedpool.mapping.plan import Column

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement
    from sqla_typedpool.fetch.fast.call import Call


class AiosqliteFast:
    """Runs statements on aiosqlite."""

    family = "sqlite"
    describes_first = False

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect

    def may_run_alone(self, statement: DriverStatement) -> bool:
        return True  # ``sqlite3`` begins a transaction where it does for SQLAlchemy

    def is_default(self, call: Call) -> bool:
        raw = raw_connection(call.adapted)
        try:
            if raw is None or raw.row_factory is not None:
                return False
            # without an isolation level no transaction is begun, which could be rolled back
            return not call.is_alone or (raw.isolation_level is not None and not raw.in_transaction)
        except Exception:  # noqa: BLE001 - it is closed
            return False

    def run(self, call: Call) -> Awaitable[Any]:
        lock = None if call.is_alone else execute_lock(call.adapted)
        return self._run(call) if lock is None else self._run_locked(call, lock)

    async def _run_locked(self, call: Call, lock: AbstractAsyncContextManager[Any]) -> Any:
        async with lock:
            return await self._run(call)

    async def _run(self, call: Call) -> Any:
        connection = driver_connection(call.adapted)
        raw = connection._connection
        work = ThreadWork(raw, call)
        try:
            result = await _in_thread(connection, work.run)
            if work.new_columns is not None:
                may_commit = call.is_alone and raw.in_transaction
                await self._accept(call, connection, work, may_commit=may_commit)
        except BaseException:
            work.give_up()
            raise
        return result

    async def _accept(
        self, call: Call, connection: Any, work: ThreadWork, *, may_commit: bool
    ) -> None:
        """Check columns that are new, and end the transaction of a statement that runs alone."""
        try:
            self._add_mapper(call, work.new_columns)
        except BaseException:
            if may_commit:
                await _in_thread(connection, work.roll_back)
            raise
        if may_commit:
            await _in_thread(connection, work.commit)

    def _add_mapper(self, call: Call, description: Any) -> None:
        columns = tuple([Column(name, None) for name, *_ in description])
        call.add_mapper(description, columns, (None,) * len(columns), self)

    def may_keep_settings(self, call: Call) -> bool:
        return False  # the connection of a cancelled statement is closed


def _in_thread(connection: Any, function: Callable[[], Any]) -> Future[Any]:
    """Call a function in the thread of an aiosqlite connection.

    :return: its result, to be awaited.
    """
    if not connection._running:
        raise ValueError("no active connection")  # aiosqlite's error, which SQLAlchemy knows
    future = get_running_loop().create_future()
    connection._tx.put_nowait((future, function))
    return future
