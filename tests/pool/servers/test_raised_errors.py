"""Errors that the package's own coroutines raise are those that SQLAlchemy raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool import TypedPool, execute, fetch_all, stream
from sqla_typedpool.describe import describe
from sqla_typedpool.embedded.process import free_port
from tests.support.databases import PostgresDatabase
from tests.support.drivers import SERVERS
from tests.support.engines import engine_on, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.support.databases import Database

FAULTS: dict[str, Callable[[URL], URL]] = {
    "refused": lambda url: url.set(port=free_port()),
    "wrong account": lambda url: url.set(username="unknown_user"),
    "wrong password": lambda url: url.set(username="app", password="wrong"),
    "unknown database": lambda url: url.set(database="nowhere"),
}


async def connecting(engine: AsyncEngine) -> None:
    async with engine.connect():
        pass


async def warming(engine: AsyncEngine) -> None:
    await TypedPool.of(engine).warm()


async def fetching(engine: AsyncEngine) -> None:
    await fetch_all(engine, int, "SELECT 1")


async def executing(engine: AsyncEngine) -> None:
    await execute(engine, "SELECT 1")


async def streaming(engine: AsyncEngine) -> None:
    async for _ in stream(engine, int, "SELECT 1"):
        pass


async def fetching_in_a_session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        await fetch_all(session, int, "SELECT 1")


async def describing(engine: AsyncEngine) -> None:
    await describe(engine, "SELECT 1")


CALLS = (warming, fetching, executing, streaming, fetching_in_a_session, describing)


async def error_of(call: Any, engine: AsyncEngine) -> Exception:
    with pytest.raises(Exception) as caught:
        await call(engine)
    return caught.value


def features(error: Any) -> tuple[Any, ...]:
    """What an application may read of an error."""
    original = getattr(error, "orig", None)
    return type(error), str(error).splitlines(), type(original), type(error.__cause__)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("driver", SERVERS)
def test_a_failed_connect_raises_the_error_that_engine_connect_raises(
    stoppable_database: Database, fault: str
) -> None:
    database = stoppable_database

    async def main() -> None:
        if fault == "wrong password" and isinstance(database, PostgresDatabase):
            await database.run("CREATE ROLE app LOGIN PASSWORD 'right'")
            await database.require_password("app")
        url = FAULTS[fault](database.url)
        async with engine_on(url, pool_connect_retry=0.05) as engine:
            expected = await error_of(connecting, engine)
            for call in CALLS:
                assert features(await error_of(call, engine)) == features(expected), call

    run(main())


@pytest.mark.parametrize("driver", SERVERS)
def test_handle_error_listeners_are_called_for_an_error_of_warm(
    database: Database, driver: str
) -> None:
    async def main() -> None:
        async with engine_on(database.url.set(username="unknown_user")) as engine:
            contexts: list[Any] = []

            @event.listens_for(engine.sync_engine, "handle_error")
            def replace(context: Any) -> Exception:
                contexts.append(context)
                return ValueError("replaced")

            expected = await error_of(connecting, engine)
            assert features(await error_of(warming, engine)) == features(expected)
            if not contexts:  # asyncpg's errors of a connect are not wrapped by SQLAlchemy 2.0
                assert driver == "asyncpg"
                return
            of_connect, of_warm = contexts
            assert of_warm.engine is engine.sync_engine
            assert type(of_warm.sqlalchemy_exception) is type(of_connect.sqlalchemy_exception)
            assert of_warm.is_disconnect == of_connect.is_disconnect

    run(main())
