"""Requests to the shop, in a new database for each test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from shop import create_app


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(url, **options)
    transport = httpx.ASGITransport(app=app)
    async with app.lifespan():
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client


async def holders(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Return who holds the connections of the only pool."""
    (pool,) = (await client.get("/_pool/stats.json")).json()["pools"]
    return list(pool["holders"])


def test_an_item_is_sold_until_none_is_left(typedpool_database: Any) -> None:
    async def main() -> None:
        async with client_of(typedpool_database.url) as client:
            lamp = {"name": "Lamp", "stock": 1}
            item = (await client.post("/items", json=lamp)).json()["id"]
            assert (await client.post("/items", json=lamp)).status_code == 409
            answers = [(await client.post(f"/items/{item}/take")).status_code for _ in range(2)]
            assert answers == [201, 409]
            (found,) = (await client.get("/items")).json()
            assert (found["name"], found["stock"]) == ("Lamp", 0)

    asyncio.run(main())


def test_a_request_without_a_connection_is_503_and_the_page_names_the_holder(
    typedpool_database: Any,
) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "pool_timeout": 0.5}
        async with client_of(typedpool_database.url, **options) as client:
            slow = asyncio.ensure_future(client.get("/items", params={"seconds": 2}))
            while not any(holder["query"] for holder in await holders(client)):
                await asyncio.sleep(0.01)
            answer = await client.get("/items")
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
            (holder,) = await holders(client)
            assert (holder["label"], holder["query"]) == ("GET /items", "shop.pause")
            assert holder["where"].endswith("in items")
            assert (await client.get("/_pool/readyz")).status_code == 200
            assert (await slow).status_code == 200

    asyncio.run(main())
