"""A pool in Litestar, with the plugin of advanced-alchemy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from advanced_alchemy.extensions.litestar import (
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
)
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from litestar import Litestar, Response, get
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_typedpool import TypedPool
from sqla_typedpool.integrations.litestar import PoolPlugin
from tests.support.engines import run

# Litestar 3 will want other annotations of parameters, which earlier versions do not have.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*Inferred dependency", "ignore:.*deprecated inferred style"
)


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "things"

    id: Mapped[int] = mapped_column(primary_key=True)


class Things(SQLAlchemyAsyncRepository[Thing]):  # type: ignore[type-var]
    model_type = Thing


def config_of(folder: Path, **options: Any) -> SQLAlchemyAsyncConfig:
    return SQLAlchemyAsyncConfig(
        connection_string=f"sqlite+aiosqlite:///{folder / 'file.db'}",
        engine_config=EngineConfig(**{"poolclass": TypedPool, **options}),
    )


def shop(config: SQLAlchemyAsyncConfig, **options: Any) -> Litestar:
    engine = config.get_engine()

    @get("/orders/{number:int}")
    async def holders(number: int, db_session: AsyncSession) -> list[str | None]:
        await db_session.execute(text("SELECT 1"))
        return [each.label for each in TypedPool.of(engine).holders()]

    @get("/wrong")
    async def wrong(db_session: AsyncSession) -> None:
        await db_session.execute(text("SELECT missing_column"))

    plugins = [SQLAlchemyPlugin(config=config), PoolPlugin(engine, **options)]
    return Litestar([holders, wrong], plugins=plugins, logging_config=None)


def client_of(app: Litestar) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def test_the_label_of_a_holder_is_the_method_and_the_route(tmp_path: Path) -> None:
    async def main() -> None:
        config = config_of(tmp_path)
        app = shop(config)
        async with app.lifespan(), client_of(app) as client:
            assert (await client.get("/orders/17")).json() == ["GET /orders/{number}"]
            assert TypedPool.of(config.get_engine()).stats().in_use == 0

    run(main())


def test_a_request_without_a_connection_is_answered_with_503(tmp_path: Path) -> None:
    async def main() -> None:
        config = config_of(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.3)
        app = shop(config)
        async with app.lifespan(), client_of(app) as client, config.get_engine().connect():
            answer = await client.get("/orders/1")
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1

    run(main())


def test_other_errors_are_answered_by_litestar_and_cost_no_connection(tmp_path: Path) -> None:
    async def main() -> None:
        config = config_of(tmp_path)
        app = shop(config)
        async with app.lifespan(), client_of(app) as client:
            answer = await client.get("/wrong")
            assert (answer.status_code, answer.json()["detail"]) == (500, "Internal Server Error")
            assert TypedPool.of(config.get_engine()).stats().in_use == 0

    run(main())


@pytest.mark.parametrize("is_last", [True, False])
def test_an_outage_inside_a_repository_of_advanced_alchemy_is_503(
    is_last: bool, tmp_path: Path
) -> None:
    """It wraps errors of SQLAlchemy in its own; its plugin answers them."""

    async def main() -> None:
        config = config_of(tmp_path, pool_size=1, max_overflow=0, pool_timeout=0.2)
        engine = config.get_engine()

        @get("/thing")
        async def thing(db_session: AsyncSession) -> str:
            return str(await Things(session=db_session).count())

        @get("/missing")
        async def missing(db_session: AsyncSession) -> str:
            return str(await Things(session=db_session).get(7))

        plugins = [PoolPlugin(engine), SQLAlchemyPlugin(config=config)]
        plugins = plugins[::-1] if is_last else plugins
        app = Litestar([thing, missing], plugins=plugins, logging_config=None)
        async with app.lifespan(), client_of(app) as client:
            async with engine.begin() as connection:
                await connection.run_sync(Thing.metadata.create_all)
                assert (await client.get("/thing")).status_code == 503
            assert (await client.get("/thing")).text == "0"
            assert (await client.get("/missing")).status_code == 404

    run(main())


def test_the_applications_own_handler_gets_what_is_no_outage(tmp_path: Path) -> None:
    def own(request: Any, error: Exception) -> Response[str]:
        return Response(type(error).__name__, status_code=418)

    async def main() -> None:
        for key in (SQLAlchemyError, Exception, 500):
            config = config_of(tmp_path)

            @get("/wrong")
            async def wrong(db_session: AsyncSession) -> None:
                await db_session.execute(text("SELECT missing_column"))

            app = Litestar(
                [wrong],
                plugins=[SQLAlchemyPlugin(config=config), PoolPlugin(config.get_engine())],
                exception_handlers={key: own},
                logging_config=None,
            )
            async with app.lifespan(), client_of(app) as client:
                answer = await client.get("/wrong")
            assert (answer.status_code, answer.text) == (418, "OperationalError")

    run(main())


def test_the_line_of_a_holder_is_the_applications_also_inside_a_repository(tmp_path: Path) -> None:
    async def main() -> None:
        config = config_of(tmp_path, poolclass=TypedPool.configured(pool_leak_threshold=60))
        engine = config.get_engine()

        @get("/thing")
        async def thing(db_session: AsyncSession) -> str | None:
            await Things(session=db_session).count()
            return TypedPool.of(engine).holders()[0].where

        plugins = [SQLAlchemyPlugin(config=config), PoolPlugin(engine)]
        app = Litestar([thing], plugins=plugins, logging_config=None)
        async with app.lifespan(), client_of(app) as client:
            async with engine.begin() as connection:
                await connection.run_sync(Thing.metadata.create_all)
            where = (await client.get("/thing")).text
        assert where.startswith(__file__)
        assert where.endswith("in thing")

    run(main())


def test_the_plugin_connects_at_the_start_and_closes_at_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        config = config_of(tmp_path)
        app = shop(config, drain=0.1)
        async with app.lifespan():
            pool = TypedPool.of(config.get_engine())
            assert pool.stats().idle == 1
        await asyncio.sleep(0)
        assert pool.stats().size == 0

    run(main())


def test_an_engine_with_another_pool_is_refused_with_the_change_that_is_needed() -> None:
    with pytest.raises(TypeError, match="pass poolclass=TypedPool"):
        PoolPlugin(create_async_engine("sqlite+aiosqlite://"))
