"""Building a schema in an empty database, from whichever source is given."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.errors import CannotRun

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator

    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

BUILD_SECONDS = 300.0
"""The longest that building a schema may take."""
CONNECT_SECONDS = 10.0
"""The longest wait for a connection."""

_COUNT_RELATIONS = """
    SELECT count(*) FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""


def build(
    url: str,
    *,
    metadata: str | MetaData | None = None,
    alembic: str | os.PathLike[str] | None = None,
    schema: str | os.PathLike[str] | None = None,
) -> None:
    """Build a schema in the empty PostgreSQL database at `url`. Exactly one source is given.

    :param url: for asyncpg.
    :param metadata: ``"app.models:Base.metadata"``, imported with the working directory on the
        path, or the MetaData itself. Its schemas are created first, and the extensions of
        SQLAlchemy's own CITEXT and HSTORE; any other extension by an event of the metadata.
    :param alembic: an ``alembic.ini``; `alembic upgrade heads` is run in a process of its own,
        in the working directory, where nothing can connect to any other database through
        SQLAlchemy.
    :param schema: a file of SQL, run by psql, or by asyncpg where there is no psql.
    :raises CannotRun: it could not be built; the database is then half built.
    """
    kind, source = the_one_of(metadata=metadata, alembic=alembic, schema=schema)
    _require_asyncpg()
    if kind == "metadata":
        from sqla_typedpool.ephemeral.models import create

        run_apart(lambda: create(url, source))
    elif kind == "alembic":
        from sqla_typedpool.ephemeral.migrations import upgrade

        upgrade(url, Path(source))
    else:
        from sqla_typedpool.ephemeral.script import run_script

        run_script(url, Path(source))
    _must_have_something(url, f"{kind} {source}" if isinstance(source, str | Path) else kind)


def the_one_of(**sources: Any) -> tuple[str, Any]:
    """The only source that is given, and its name.

    :raises CannotRun: none is given, or several.
    """
    given = [(kind, source) for kind, source in sources.items() if source is not None]
    if len(given) == 1:
        return given[0]
    names = " and ".join(kind for kind, _ in given)
    raise CannotRun(
        f"The schema comes from one source, and {names or 'none'} {'are' if given else 'is'} given."
        " Next: give exactly one of metadata (app.models:Base.metadata), alembic (alembic.ini) and"
        " schema (schema.sql)."
    )


def run_apart(work: Callable[[], Coroutine[Any, Any, T]], seconds: float = BUILD_SECONDS) -> T:
    """Run a coroutine in a thread with a loop of its own: the caller's loop stays as it is.

    A Ctrl-C cancels it, and waits for its end.

    :raises asyncio.TimeoutError: it took longer than `seconds`.
    """
    apart = _Apart(work, seconds)
    thread = threading.Thread(target=apart.run, name="typedpool")
    try:
        thread.start()
        return apart.outcome.result()  # not join(): on 3.10 an interrupted one is never joined
    except BaseException:
        apart.cancel()
        if thread.ident is not None:
            wait([apart.outcome])
        raise


class _Apart(Generic[T]):
    """A coroutine in another thread."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> None:
        self.outcome: Future[T] = Future()
        self._work = work
        self._seconds = seconds
        self._unwanted = threading.Event()
        self._task: asyncio.Task[Any] | None = None

    def run(self) -> None:
        try:
            self.outcome.set_result(asyncio.run(self._main()))
        except BaseException as error:  # noqa: BLE001 - raised where the outcome is asked for
            self.outcome.set_exception(error)

    def cancel(self) -> None:
        self._unwanted.set()
        if self._task is not None:
            with suppress(RuntimeError):  # its loop has closed: it is over
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    async def _main(self) -> T:
        self._task = asyncio.current_task()
        if self._unwanted.is_set():
            raise asyncio.CancelledError
        return await asyncio.wait_for(self._work(), self._seconds)


@asynccontextmanager
async def connection_to(url: str, **options: Any) -> AsyncIterator[AsyncConnection]:
    """A connection that commits at the end of the block, from an engine that is disposed of.

    :param options: further ones of `create_async_engine`, such as the isolation level.
    """
    connect_args = {"timeout": CONNECT_SECONDS}
    engine = create_async_engine(url, poolclass=NullPool, connect_args=connect_args, **options)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


def _require_asyncpg() -> None:
    if find_spec("asyncpg") is None:
        raise CannotRun(
            "Building a schema needs asyncpg. Next: pip install 'sqla-typedpool[asyncpg]'"
        )


def _must_have_something(url: str, source: str) -> None:
    """A build that has built nothing went somewhere else, or was given nothing."""

    async def count() -> int:
        async with connection_to(url) as connection:
            return int((await connection.execute(text(_COUNT_RELATIONS))).scalar_one())

    if run_apart(count) == 0:
        raise CannotRun(
            f"The schema was built from {source} without an error, and the database is still"
            " empty. Next: see that it defines tables, and builds them in this database."
        )
