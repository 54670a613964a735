"""The application: customers order books, and the owner looks at reports."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool import Executor, TypedPool

from . import catalogue, reports, schema, seed
from .orders import Orders
from .schema import Status

ADDRESS = {"street": "1 Harbour Road", "city": "Hull", "country": "GB"}

orders = Orders()


class SoldOut(Exception):
    """There are not enough copies."""


async def open_shop(url: str) -> AsyncEngine:
    """Return an engine on a database, after creating the tables and, if they are empty, rows."""
    engine = create_async_engine(url, poolclass=TypedPool, pool_size=5, pool_timeout=5)
    async with engine.begin() as connection:
        await connection.run_sync(schema.metadata.create_all)
        if await catalogue.is_empty(connection):
            await seed.fill(connection)
    return engine


async def buy(db: Executor, customer_id: int, basket: dict[int, int]) -> int:
    """Place an order in the caller's transaction.

    :param basket: the number of copies by the book's id.
    :raises SoldOut: there are not enough copies; the caller must roll back.
    """
    order_id = await orders.place(db, customer_id=customer_id, address=ADDRESS)
    for book_id, copies in basket.items():
        if await catalogue.take(db, book_id=book_id, copies=copies) is None:
            title = await catalogue.title_of(db, book_id=book_id)
            raise SoldOut(title or f"book {book_id}")
        await orders.add_line(db, order_id=order_id, book_id=book_id, quantity=copies)
    return order_id


async def a_day(engine: AsyncEngine) -> None:
    """Show and sell some books, and print reports."""
    for book_id in (2, 4):
        print(await catalogue.page(engine, book_id=book_id))
    print("tags:", await catalogue.tags(engine))
    print("search:", [book.title for book in await catalogue.search(engine, words="s", tag="sf")])
    await _sell(engine)
    await _count(engine)


async def _sell(engine: AsyncEngine) -> None:
    for customer_id, basket in ((1, {1: 1, 2: 2}), (2, {4: 3}), (1, {3: 2})):
        try:
            async with engine.begin() as connection:
                order_id = await buy(connection, customer_id, basket)
        except SoldOut as title:
            print(f"sold out: {title}")
        else:
            print(await _summary(engine, order_id))
    await orders.set_status(engine, order_id=1, status=Status.SHIPPED)
    print(await _summary(engine, 1))
    for line in await orders.lines(engine, order_id=1):
        print(" ", line)


async def _summary(db: Executor, order_id: int) -> str:
    order = await orders.get(db, order_id=order_id)
    if order is None:
        return f"order {order_id}: there is none"
    where = f"{order.customer}, {order.address.city}"
    return f"order {order.id} ({where}): {order.total}, {order.status.value}"


async def _count(engine: AsyncEngine) -> None:
    changed = await catalogue.change_prices(engine, tag="old", factor=Decimal("1.10"))
    print(f"{changed} books cost more now")
    added = await catalogue.add(
        engine, title="Eden", author_id=2, price=Decimal("12.00"), stock=2, tags=["sf"]
    )
    print("new:", await catalogue.by_ids(engine, ids=[added]))
    print("dearest:", (await reports.by_price(engine))[0])
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    for bestseller in await reports.bestsellers(engine, since=yesterday, at_most=2):
        print(" ", bestseller)
    print("turnover:", await reports.turnover(engine))
    print("months:", [(month.orders, month.revenue) for month in await reports.months(engine)])
    print("sales:", [sale.amount async for sale in reports.sales(engine)])
    print("shipped to Hull:", await orders.count_in(engine, city="Hull", status=Status.SHIPPED))
    await orders.set_status(engine, order_id=2, status=Status.CANCELLED)
    await orders.forget_cancelled(engine)
    print("orders of Bo:", len(await orders.recent(engine, customer_id=2)))
