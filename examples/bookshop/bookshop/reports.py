"""Reports: aggregates, window functions, a stream, and SQL in a separate file."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqla_typedpool import Executor, query


@dataclass(frozen=True, slots=True)
class Month:
    begins: datetime
    orders: int
    revenue: Decimal


@dataclass(frozen=True, slots=True)
class Ranked:
    title: str
    author: str | None
    place: int
    cheaper: str | None


@dataclass(frozen=True, slots=True)
class Bestseller:
    title: str
    copies: int
    revenue: Decimal


@dataclass(frozen=True, slots=True)
class Sale:
    order_id: int
    book_id: int
    amount: Decimal


@query("""
    SELECT date_trunc('month', o.placed_at) AS begins,
           count(DISTINCT o.id) AS orders,
           sum(l.quantity * l.price) AS revenue
    FROM orders o JOIN order_lines l ON l.order_id = o.id
    WHERE o.status <> 'cancelled'
    GROUP BY 1 ORDER BY 1
""")
async def months(db: Executor) -> list[Month]:
    """Sum columns that are never NULL. GROUP BY makes no empty groups, so no sum is NULL."""
    raise NotImplementedError


@query("""
    SELECT b.title, a.name AS author,
           rank() OVER (ORDER BY b.price DESC) AS place,
           lead(b.title) OVER (ORDER BY b.price DESC, b.id) AS cheaper
    FROM books b LEFT JOIN authors a ON a.id = b.author_id
    ORDER BY place, b.title
""")
async def by_price(db: Executor) -> list[Ranked]:
    """Use window functions. A rank is never NULL, but the last book has no cheaper one."""
    raise NotImplementedError


@query(path="sql/bestsellers.sql")
async def bestsellers(db: Executor, *, since: datetime, at_most: int = 10) -> list[Bestseller]:
    """Run the SQL of a file, which editors can highlight and complete."""
    raise NotImplementedError


@query("SELECT sum(quantity * price) FROM order_lines")
async def turnover(db: Executor) -> Decimal | None:
    """Return one row, because there is no GROUP BY; without sales the sum is NULL."""
    raise NotImplementedError


@query("""
    SELECT order_id, book_id, quantity * price AS amount
    FROM order_lines ORDER BY order_id, book_id
""")
def sales(db: Executor) -> AsyncIterator[Sale]:
    """Stream the rows; the function is a plain `def`."""
    raise NotImplementedError
