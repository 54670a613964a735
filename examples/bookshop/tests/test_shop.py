"""Tests of the shop. Each test gets a new database with the tables."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from bookshop import catalogue, reports, seed
from bookshop.app import SoldOut, buy
from bookshop.orders import Orders
from sqlalchemy.ext.asyncio import AsyncEngine

orders = Orders()


@pytest.fixture
def in_the_shop(
    typedpool_database: Any,
) -> Callable[[Callable[[AsyncEngine], Awaitable[None]]], None]:
    """Run a coroutine function with an engine whose database has books and customers."""

    async def main(visit: Callable[[AsyncEngine], Awaitable[None]]) -> None:
        engine = typedpool_database.engine()
        await seed.fill(engine)
        await visit(engine)
        await engine.dispose()

    return lambda visit: asyncio.run(main(visit))


def test_an_anonymous_book_has_no_author(in_the_shop: Any) -> None:
    async def visit(engine: AsyncEngine) -> None:
        page = await catalogue.page(engine, book_id=4)
        assert page is not None
        assert (page.title, page.author) == ("Beowulf", None)
        assert await catalogue.page(engine, book_id=99) is None

    in_the_shop(visit)


def test_an_order_that_cannot_be_filled_leaves_nothing_behind(in_the_shop: Any) -> None:
    async def visit(engine: AsyncEngine) -> None:
        with pytest.raises(SoldOut, match="The Tale of Genji"):
            async with engine.begin() as connection:
                await buy(connection, 1, {2: 1, 3: 2})
        assert await orders.recent(engine, customer_id=1) == []
        (solaris,) = await catalogue.by_ids(engine, ids=[2])
        assert solaris.stock == 5

    in_the_shop(visit)


def test_the_turnover_is_none_before_the_first_sale(in_the_shop: Any) -> None:
    async def visit(engine: AsyncEngine) -> None:
        assert await reports.turnover(engine) is None
        async with engine.begin() as connection:
            await buy(connection, 2, {4: 2})
        assert await reports.turnover(engine) == Decimal("19.60")
        assert [sale.book_id async for sale in reports.sales(engine)] == [4]

    in_the_shop(visit)
