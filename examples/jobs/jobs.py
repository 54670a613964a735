"""Jobs with one `asyncio.run` for each, as in Celery: one engine at module level serves them all.

Run it: python jobs.py            with TypedPool
        python jobs.py --stock    with the pool of SQLAlchemy, which fails
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ClassVar, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool import Executor, TypedPool, execute, fetch_one, query
from sqla_typedpool.embedded import Postgres

P = ParamSpec("P")
T = TypeVar("T")


class Engines:
    """The engine of the process, which is made when it is first used."""

    url = os.environ.get("DATABASE_URL", "")
    options: ClassVar[dict[str, Any]] = {"poolclass": TypedPool}
    made: AsyncEngine | None = None

    @classmethod
    def get(cls) -> AsyncEngine:
        if cls.made is None:
            cls.made = create_async_engine(cls.url, pool_size=2, max_overflow=0, **cls.options)
        return cls.made


def job(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a plain function of a coroutine function, as a task of Celery must be."""

    @wraps(function)
    def run(*args: P.args, **options: P.kwargs) -> T:
        return asyncio.run(function(*args, **options))

    return run


@query("INSERT INTO done (invoice) VALUES (:invoice) RETURNING pg_backend_pid()")
async def note(db: Executor, *, invoice: int) -> int:
    raise NotImplementedError


@query("SELECT count(*) FROM done")
async def count(db: Executor) -> int:
    raise NotImplementedError


@job
async def create_table() -> None:
    await execute(Engines.get(), "CREATE TABLE IF NOT EXISTS done (invoice int)")


@job
async def send_invoice(invoice: int) -> int:
    """Two statements at the same time, so that a job has two connections."""
    engine = Engines.get()
    session, _ = await asyncio.gather(
        note(engine, invoice=invoice), fetch_one(engine, int, "SELECT 1")
    )
    return session


@job
async def done() -> int:
    return await count(Engines.get())


@job
async def sessions_of_the_server() -> int:
    """Count the sessions of this program on the server, this one included."""
    statement = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'
    """
    return await fetch_one(Engines.get(), int, statement)


def main(jobs: int = 20) -> None:
    """Run jobs one after another, and then four at a time in threads."""
    create_table()
    sessions = {send_invoice(each) for each in range(jobs)}
    with ThreadPoolExecutor(4) as threads:
        sessions |= set(threads.map(send_invoice, range(jobs, 2 * jobs)))
    print(f"{done()} invoices sent by {2 * jobs} jobs, in {len(sessions)} sessions of the server")
    print(f"sessions that are still open: {sessions_of_the_server() - 1}")


if __name__ == "__main__":
    if "--stock" in sys.argv:
        Engines.options = {}
    if Engines.url:
        main()
    else:
        with Postgres.start() as server:
            Engines.url = server.url("asyncpg")
            main()
