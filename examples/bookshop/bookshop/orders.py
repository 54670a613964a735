"""Orders: a repository class whose methods are declared queries."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from sqlalchemy import bindparam, insert, select

from sqla_typedpool import Executor, Json, RowCount, query

from . import schema
from .schema import Status


@dataclass(frozen=True, slots=True)
class Address:
    """The document in the jsonb column."""

    street: str
    city: str
    country: Literal["DE", "FR", "GB"]


@dataclass(frozen=True, slots=True)
class Order:
    id: int
    customer: str
    status: Status
    address: Annotated[Address, Json()]
    placed_at: datetime
    shipped_at: datetime | None
    books: int
    total: Decimal


@dataclass(frozen=True, slots=True)
class Line:
    title: str
    quantity: int
    price: Decimal
    author: str | None


_recent = (
    select(schema.orders.c.id, schema.orders.c.placed_at)
    .where(schema.orders.c.customer_id == bindparam("customer_id"))
    .order_by(schema.orders.c.placed_at.desc(), schema.orders.c.id.desc())
    .limit(10)
)


class Orders:
    """The queries about orders."""

    @query(insert(schema.orders).returning(schema.orders.c.id))
    async def place(self, db: Executor, *, customer_id: int, address: dict[str, Any]) -> int:
        """Run a Core statement; its parameters are columns, and SQLAlchemy encodes the JSON."""
        raise NotImplementedError

    @query("""
        INSERT INTO order_lines (order_id, book_id, quantity, price)
        SELECT :order_id, b.id, :quantity, b.price FROM books b WHERE b.id = :book_id
    """)
    async def add_line(
        self, db: Executor, *, order_id: int, book_id: int, quantity: int
    ) -> RowCount:
        """Add a line with the book's current price; return 0 if there is no such book."""
        raise NotImplementedError

    @query("""
        SELECT o.id, c.name AS customer, o.status, o.address, o.placed_at, o.shipped_at,
               count(l.book_id) AS books,
               coalesce(sum(l.quantity * l.price), 0) AS total
        FROM orders o
        JOIN customers c ON c.id = o.customer_id
        LEFT JOIN order_lines l ON l.order_id = o.id
        WHERE o.id = :order_id
        GROUP BY o.id, c.name
    """)
    async def get(self, db: Executor, *, order_id: int) -> Order | None:
        """Return an enum, a JSON document and aggregates. Without coalesce, `sum` could be NULL."""
        raise NotImplementedError

    @query("""
        SELECT b.title, l.quantity, l.price, a.name AS author
        FROM order_lines l
        JOIN books b ON b.id = l.book_id
        LEFT JOIN authors a ON a.id = b.author_id
        WHERE l.order_id = :order_id
        ORDER BY b.title
    """)
    async def lines(self, db: Executor, *, order_id: int) -> list[Line]:
        """Return the lines. `authors.name` is NOT NULL, but the LEFT JOIN may find no author."""
        raise NotImplementedError

    @query(_recent)
    async def recent(self, db: Executor, *, customer_id: int) -> list[tuple[int, datetime]]:
        """Run a Core statement that returns rows."""
        raise NotImplementedError

    @query("""
        UPDATE orders
        SET status = :status,
            shipped_at = CASE WHEN CAST(:status AS order_status) = 'shipped' THEN now() END
        WHERE id = :order_id
    """)
    async def set_status(self, db: Executor, *, order_id: int, status: Status) -> RowCount:
        """Pass a member of an Enum as a parameter."""
        raise NotImplementedError

    @query("SELECT count(*) FROM orders WHERE status = :status AND address ->> 'city' = :city")
    async def count_in(self, db: Executor, *, city: str, status: Status) -> int:
        """Compare a value in the JSON document."""
        raise NotImplementedError

    @query("DELETE FROM orders WHERE status = 'cancelled'")
    async def forget_cancelled(self, db: Executor) -> None:
        """Run a statement that returns nothing."""
        raise NotImplementedError
