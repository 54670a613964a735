"""Requests to the shop. Each test gets a new database with all migrations."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from shop.app import create_app
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool import TypedPool

TOKEN = {"Authorization": "Bearer secret"}
LAMP = {"name": "Lamp", "price": "24.90", "stock": 3}


@asynccontextmanager
async def client_of(engine: AsyncEngine, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Start the application, and yield a client."""
    app = create_app(engine, "secret", **options)
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client


@pytest.fixture
def in_the_shop(typedpool_database: Any) -> Callable[..., None]:
    """Run a coroutine function with a client and the engine of the application."""

    async def main(visit: Callable[..., Awaitable[None]], options: dict[str, Any]) -> None:
        engine = typedpool_database.engine(**options)
        async with client_of(engine) as client:
            await visit(client, engine)

    return lambda visit, **options: asyncio.run(main(visit, options))


def test_a_product_is_sold_until_none_is_left(in_the_shop: Any) -> None:
    async def visit(client: httpx.AsyncClient, engine: AsyncEngine) -> None:
        product = (await client.post("/products", json=LAMP)).json()
        assert (await client.post("/products", json=LAMP)).status_code == 409
        wanted = {"product_id": product, "quantity": 2}
        answers = [(await client.post("/orders", json=wanted)).status_code for _ in range(2)]
        assert answers == [201, 409]
        (left,) = (await client.get("/products", params={"search": "amp"})).json()
        assert left == {**LAMP, "id": product, "stock": 1}
        assert (await client.get("/sales")).json() == [
            {"name": "Lamp", "sold": 2, "revenue": "49.80"}
        ]
        assert (await client.get("/orders.csv")).text.startswith("1,Lamp,2,")

    in_the_shop(visit)


def test_a_request_without_a_connection_is_answered_with_503(in_the_shop: Any) -> None:
    async def visit(client: httpx.AsyncClient, engine: AsyncEngine) -> None:
        async with engine.connect():
            answer = await client.get("/products")
            ready = await client.get("/_pool/readyz")
        assert (answer.status_code, ready.status_code) == (503, 200)
        assert int(answer.headers["retry-after"]) >= 1
        assert (await client.get("/products")).status_code == 200

    in_the_shop(visit, pool_size=1, max_overflow=0, pool_timeout=0.5)


def test_a_slow_report_is_a_holder_with_its_route_and_query(in_the_shop: Any) -> None:
    async def visit(client: httpx.AsyncClient, engine: AsyncEngine) -> None:
        report = asyncio.ensure_future(client.get("/sales", params={"seconds": 1}))
        while not any(holder.query for holder in TypedPool.of(engine).holders()):
            await asyncio.sleep(0.01)
        (pool,) = (await client.get("/_pool/stats.json", headers=TOKEN)).json()["pools"]
        (holder,) = pool["holders"]
        assert (holder["label"], holder["query"]) == ("GET /sales", "shop.queries.pause")
        assert holder["where"].endswith("in sales")
        assert (await report).status_code == 200

    in_the_shop(visit)


def test_only_who_has_the_token_sees_the_pool(in_the_shop: Any) -> None:
    async def visit(client: httpx.AsyncClient, engine: AsyncEngine) -> None:
        for path in ("/_pool/", "/_pool/metrics", "/_pool/stats.json"):
            assert (await client.get(path)).status_code == 403
            assert (await client.get(path, headers=TOKEN)).status_code == 200
        wrong = await client.get("/_pool/", headers={"Authorization": "Bearer wrong"})
        assert wrong.status_code == 403
        page = await client.get("/login", params={"token": "secret"}, follow_redirects=True)
        assert (page.status_code, page.url.path) == (200, "/_pool/")
        metrics = await client.get("/_pool/metrics")
        assert 'sqla_typedpool_connections_max{pool="' in metrics.text

    in_the_shop(visit)


def test_the_shop_is_not_ready_while_the_database_is_down() -> None:
    async def main() -> None:
        url = "postgresql+asyncpg://nobody@127.0.0.1:1/shop"
        engine = create_async_engine(url, poolclass=TypedPool, pool_connect_retry=0)
        async with client_of(engine, connects=False) as client:
            assert (await client.get("/products")).status_code == 503
            assert (await client.get("/_pool/readyz")).status_code == 503
            assert (await client.get("/_pool/livez")).status_code == 200

    asyncio.run(main())
