"""Limits and shortages: of PostgreSQL, of PgBouncer, of the file descriptors of this process."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from sqla_typedpool import TypedPool
from sqla_typedpool.pool.connect_errors import classify
from sqla_typedpool.pool.connect_rules import ErrorKind
from tests.support.drivers import POSTGRESQL, SERVERS
from tests.support.engines import PATIENCE, ask, engine_on, new_name, open_all, return_all, run
from tests.support.servers.pgbouncer import PgBouncer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database


async def check_waiting_for_a_return(engine: AsyncEngine, limit: int) -> None:
    """With `limit` connections the server is full: the next request waits for a return.

    The engine has a `pool_connect_retry` of 0.2 s.
    """
    held = await open_all(engine, limit)
    waiting = asyncio.ensure_future(ask(engine))
    await asyncio.sleep(0.6)
    assert not waiting.done()
    assert TypedPool.of(engine).stats().connect_failures >= 1
    await held.pop().close()
    assert await asyncio.wait_for(waiting, PATIENCE) == 1
    await return_all(held)


async def error_of_connect(url: URL | str) -> BaseException:
    """The driver's error of a connect that fails."""
    async with engine_on(url, pool_connect_retry=0) as engine:
        select_at_connect(engine)
        try:
            await ask(engine)
        except Exception as error:
            return getattr(error, "orig", None) or error
    raise AssertionError("connected")


FULL = {"pool_size": 5, "max_overflow": 0, "pool_timeout": 30, "pool_connect_retry": 0.2}


@pytest.mark.parametrize("driver", POSTGRESQL)
@pytest.mark.parametrize("limited", ["role", "database"])
def test_a_role_or_database_at_its_connection_limit_is_waited_for(
    database: Database, limited: str
) -> None:
    name = new_name().replace(" ", "_")

    async def main() -> None:
        await database.run(f"CREATE ROLE {name} LOGIN")
        await database.run(f"CREATE DATABASE {name}")
        await database.run(f"ALTER {limited} {name} WITH CONNECTION LIMIT 2")
        url = database.url.set(username=name, database=name)
        try:
            async with engine_on(url, **FULL) as engine:
                await check_waiting_for_a_return(engine, 2)
                held = await open_all(engine, 2)
                error = await error_of_connect(url)
                assert f"too many connections for {limited}" in str(error)
                await return_all(held)
        finally:
            await database.run(f"DROP DATABASE {name} WITH (FORCE)")
            await database.run(f"DROP ROLE {name}")

    run(main())


def select_at_connect(engine: AsyncEngine) -> None:
    """Run a statement when a connection is opened, as applications do to set it up.

    PgBouncer accepts a client without having a server connection for it.
    """

    @event.listens_for(engine.sync_engine, "connect")
    def select(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.close()


@contextmanager
def pgbouncer_of(database: Database, **settings: str) -> Iterator[PgBouncer]:
    bouncer = PgBouncer.start(database.server, **settings)
    try:
        yield bouncer
    finally:
        bouncer.stop()


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_pgbouncer_at_max_client_conn_is_waited_for(database: Database) -> None:
    async def main() -> None:
        with pgbouncer_of(database, max_client_conn="2", pool_mode="session") as bouncer:
            async with engine_on(bouncer.url(database.driver), **FULL) as engine:
                await check_waiting_for_a_return(engine, 2)
                held = await open_all(engine, 2)
                error = await error_of_connect(bouncer.url(database.driver))
                assert "max_client_conn" in str(error)
                assert classify(error) is ErrorKind.FULL
                await return_all(held)

    run(main())


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_pgbouncer_with_no_free_server_connection_is_waited_for(database: Database) -> None:
    """`query_wait_timeout`."""

    async def main() -> None:
        settings = {"pool_mode": "session", "default_pool_size": "1", "query_wait_timeout": "1"}
        with pgbouncer_of(database, **settings) as bouncer:
            async with engine_on(bouncer.url(database.driver), **FULL) as engine:
                select_at_connect(engine)
                held = await open_all(engine, 1)
                error = await error_of_connect(bouncer.url(database.driver))
                assert "query_wait_timeout" in str(error)
                assert classify(error) is ErrorKind.FULL
                waiting = asyncio.ensure_future(ask(engine))
                await asyncio.sleep(3)
                assert not waiting.done()
                await return_all(held)
                assert await asyncio.wait_for(waiting, PATIENCE) == 1

    run(main())


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_pgbouncer_whose_server_restarts_is_waited_for(stoppable_database: Database) -> None:
    """`server_login_retry`, and `query_wait_timeout` for those who wait already."""
    database = stoppable_database

    async def main() -> None:
        settings = {"server_login_retry": "1", "query_wait_timeout": "1", "pool_mode": "session"}
        with pgbouncer_of(database, **settings) as bouncer:
            url = bouncer.url(database.driver)
            async with engine_on(url, pool_size=2, pool_connect_retry=30) as engine:
                select_at_connect(engine)
                assert await ask(engine) == 1
                await engine.dispose()
                database.server.kill()
                messages: list[str] = []
                while not any("server_login_retry" in each for each in messages):
                    assert len(messages) < 5, messages
                    error = await asyncio.wait_for(error_of_connect(url), PATIENCE)
                    assert classify(error) in (ErrorKind.TRANSIENT, ErrorKind.FULL), repr(error)
                    messages.append(str(error))
                waiting = [asyncio.ensure_future(ask(engine)) for _ in range(3)]
                await asyncio.sleep(2)
                assert not any(each.done() for each in waiting)
                await asyncio.to_thread(database.server.restart)
                assert await asyncio.wait_for(asyncio.gather(*waiting), 2 * PATIENCE) == [1] * 3

    run(main())


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    """Let this process open no further file or socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)  # the lowest free number
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("driver", SERVERS)
def test_a_process_without_a_free_file_descriptor_waits_for_a_return(database: Database) -> None:
    async def main() -> None:
        async with database.engine(**FULL) as engine:
            held = await open_all(engine, 1)
            with no_free_descriptor():
                waiting = asyncio.ensure_future(ask(engine))
                await asyncio.sleep(0.6)
                assert TypedPool.of(engine).stats().connect_failures >= 1
                assert not waiting.done()
                await return_all(held)
                assert await asyncio.wait_for(waiting, PATIENCE) == 1
            await return_all(await open_all(engine, 3))

    run(main())
