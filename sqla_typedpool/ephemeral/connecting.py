"""Connections to the database that is built, and coroutines that run in a separate thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy import URL, RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

T = TypeVar("T")

BUILD_SECONDS = 300.0
"""The time limit for building a schema, in seconds."""
CONNECT_SECONDS = 10.0
"""The time limit for opening a connection, in seconds."""
STATEMENT_SECONDS = 60.0
"""The time limit for a call of ``run_statements``, in seconds."""


@asynccontextmanager
async def connection_to(url: str, **options: Any) -> AsyncIterator[AsyncConnection]:
    """Open a connection, commit at the end of the block, and close the connection.

    :param url: a URL for asyncpg.
    :param options: options of ``create_async_engine``, such as ``isolation_level``.
    """
    connect_args = {"timeout": CONNECT_SECONDS}
    engine = create_async_engine(url, poolclass=NullPool, connect_args=connect_args, **options)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


def libpq_variables(url: URL) -> dict[str, str]:
    """Return the environment variables that make libpq connect to the database at ``url``."""
    values = {
        "PGHOST": url.host,
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def driver_message(error: BaseException) -> str:
    """Return the driver's own message, without the text that SQLAlchemy adds, on one line."""
    original = getattr(error, "orig", None) or error
    return " ".join(str(getattr(original, "__cause__", None) or original).split())


def run_in_thread(work: Callable[[], Coroutine[Any, Any, T]], seconds: float = BUILD_SECONDS) -> T:
    """Run a coroutine in a new event loop in another thread, and return its result.

    It can be called while an event loop runs in this thread. If this thread is interrupted
    (Ctrl-C), the coroutine is cancelled, and the call returns when it has ended.

    :raises asyncio.TimeoutError: the coroutine took longer than ``seconds``.
    """
    outcome: Future[T] = Future()
    task: asyncio.Task[Any] | None = None
    is_cancelled = False

    async def main() -> T:
        nonlocal task
        task = asyncio.current_task()
        if is_cancelled:
            raise asyncio.CancelledError
        return await asyncio.wait_for(work(), seconds)

    def run() -> None:
        try:
            outcome.set_result(asyncio.run(main()))
        except BaseException as error:  # noqa: BLE001 - raised by outcome.result()
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="typedpool")
    try:
        thread.start()
        return outcome.result()  # not join(): on 3.10 an interrupted join() cannot be repeated
    except BaseException:
        is_cancelled = True
        if task is not None:
            with suppress(RuntimeError):  # the loop is closed: the coroutine has ended
                task.get_loop().call_soon_threadsafe(task.cancel)
        if thread.ident is not None:
            wait([outcome])
        raise


def run_statements(url: str, *statements: str, **values: Any) -> Sequence[RowMapping]:
    """Run statements, each in its own transaction, and return the rows of the last one.

    :param values: the parameters of the statements.
    :raises SQLAlchemyError: or OSError, as the driver raises it.
    :raises asyncio.TimeoutError: they took longer than ``STATEMENT_SECONDS``.
    """

    async def main() -> Sequence[RowMapping]:
        async with connection_to(url, isolation_level="AUTOCOMMIT") as connection:
            rows: Sequence[RowMapping] = ()
            for statement in statements:
                result = await connection.execute(text(statement), values)
                rows = result.mappings().all() if result.returns_rows else ()
            return rows

    return run_in_thread(main, STATEMENT_SECONDS)
