"""A shop with Litestar, repositories of advanced-alchemy, and declared queries.

Run it: python shop.py
"""

import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import uvicorn
from advanced_alchemy.base import BigIntBase
from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
)
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from litestar import Litestar, asgi, get, post
from litestar.exceptions import ClientException
from litestar.types import Receive, Scope, Send
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from sqla_typedpool import Executor, TypedPool, query
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.integrations.asgi import PoolMonitor
from sqla_typedpool.integrations.litestar import PoolPlugin

PORT = 8001


class Item(BigIntBase):
    __tablename__ = "items"

    name: Mapped[str] = mapped_column(unique=True)
    stock: Mapped[int]


class Items(SQLAlchemyAsyncRepository[Item]):
    model_type = Item


@dataclass
class NewItem:
    name: str
    stock: int


@query("""
    UPDATE items SET stock = stock - :quantity WHERE id = :item_id AND stock >= :quantity
    RETURNING stock
""")
async def take(db: Executor, *, item_id: int, quantity: int) -> int | None:
    """Return how many are left; None if there were too few."""
    raise NotImplementedError


@query("SELECT pg_sleep(:seconds)")
async def pause(db: Executor, *, seconds: float) -> None:
    raise NotImplementedError


@get("/items")
async def items(db_session: AsyncSession, seconds: float = 0) -> list[Item]:
    """The repository; it may be slow, so that many requests exhaust the pool."""
    await pause(db_session, seconds=seconds)
    return list(await Items(session=db_session).get_many(order_by=[("name", False)]))


@post("/items")
async def add(data: NewItem, db_session: AsyncSession) -> Item:
    """An item of a name that exists is 409, by the plugin of advanced-alchemy."""
    return await Items(session=db_session).add(Item(name=data.name, stock=data.stock))


@post("/items/{item_id:int}/take")
async def buy(item_id: int, db_session: AsyncSession) -> int:
    """A declared query, in the transaction of the session."""
    left = await take(db_session, item_id=item_id, quantity=1)
    if left is None:
        raise ClientException("sold out", status_code=409)
    return left


def create_app(url: str, **options: Any) -> Litestar:
    """Return the application.

    :param options: of ``EngineConfig``.
    """
    pool = TypedPool.configured(pool_name="shop", pool_min_size=1)
    options = {"pool_size": 5, "max_overflow": 0, "pool_timeout": 2, **options}
    config = SQLAlchemyAsyncConfig(
        connection_string=url,
        engine_config=EngineConfig(poolclass=pool, **options),
        session_config=AsyncSessionConfig(expire_on_commit=False),
        before_send_handler="autocommit",
        create_all=True,
    )
    engine = config.get_engine()
    monitor: Any = PoolMonitor(engine, authorize=is_on_this_machine)

    @asgi("/_pool", is_mount=True, copy_scope=True)
    async def pool_page(scope: Scope, receive: Receive, send: Send) -> None:
        await monitor(scope, receive, send)

    return Litestar(
        [items, add, buy, pool_page],
        plugins=[SQLAlchemyPlugin(config=config), PoolPlugin(engine)],
    )


def is_on_this_machine(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request may read the page of the pool; behind a proxy it would need a token."""
    host, _ = scope.get("client") or ("", 0)
    return bool(host == "127.0.0.1")


def serve(url: str) -> None:
    print(f"the shop: http://127.0.0.1:{PORT}/schema")
    print(f"the pool: http://127.0.0.1:{PORT}/_pool/")
    uvicorn.run(create_app(url), port=PORT, log_level="warning")


if __name__ == "__main__":
    if given := os.environ.get("DATABASE_URL"):
        serve(given)
    else:
        with Postgres.start() as server:
            serve(server.url("asyncpg"))
