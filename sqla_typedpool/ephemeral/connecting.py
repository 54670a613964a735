"""Connect to the database that is built; run coroutines and programs with a time limit."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from sqlalchemy import URL, RowMapping, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import mask_secrets

T = TypeVar("T")

# Time limits in seconds: for building a schema, for opening a connection, and for a call of
# ``run_statements``.
BUILD_SECONDS = 300.0
CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 60.0

_WAKE_SECONDS = 0.5  # the delay of an interrupt, at most

# The errors of a connection and its statements. On Python 3.10 asyncio's error is no OSError.
CONNECTION_ERRORS = (OSError, SQLAlchemyError, asyncio.TimeoutError)


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
    values = url.translate_connect_args(
        host="PGHOST",
        port="PGPORT",
        username="PGUSER",
        password="PGPASSWORD",
        database="PGDATABASE",
    )
    return {name: str(value) for name, value in values.items()}


def driver_message(error: BaseException) -> str:
    """Return the driver's own message, without the text that SQLAlchemy adds, on one line.

    For an error without a message, such as a TimeoutError, it is the name of its type.
    """
    original = getattr(error, "orig", None) or error
    message = str(getattr(original, "__cause__", None) or original)
    return mask_secrets(" ".join(message.split())) or type(original).__name__


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
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            outcome.set_exception(error)

    # Not an executor: it does not wait for a thread if the interrupt comes while it starts it.
    thread = Thread(target=run, name="typedpool")
    try:
        thread.start()
        # An interrupt may be delivered to the other thread. It is raised here when this one wakes.
        while not wait([outcome], _WAKE_SECONDS).done:
            pass
        return outcome.result()
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
    :raises Exception: one of ``CONNECTION_ERRORS``; asyncio.TimeoutError if they took longer
        than ``STATEMENT_SECONDS``.
    """

    async def main() -> Sequence[RowMapping]:
        async with connection_to(url, isolation_level="AUTOCOMMIT") as connection:
            rows: Sequence[RowMapping] = ()
            for statement in statements:
                result = await connection.execute(text(statement), values)
                rows = result.mappings().all() if result.returns_rows else ()
            return rows

    return run_in_thread(main, STATEMENT_SECONDS)


def run_program(
    source: Path, command: Sequence[str], **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a program that builds a schema, and return its result, whatever its exit code is.

    :param source: the file with the schema, for messages.
    :param options: options of ``subprocess.run``.
    :raises CannotRun: it cannot be started, or it took longer than ``BUILD_SECONDS``.
    """
    try:
        return subprocess.run(command, check=False, timeout=BUILD_SECONDS, **options)
    except subprocess.TimeoutExpired:
        raise CannotRun(
            f"{source} took longer than {BUILD_SECONDS:g} s; next: check what it waits for"
        ) from None
    except OSError as error:
        raise CannotRun(
            f"{source}: {command[0]} cannot be run: {error.strerror or error}; next: repair or"
            " remove it"
        ) from None
