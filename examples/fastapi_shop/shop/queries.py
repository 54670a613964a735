"""SQL written by hand, with typed results. `sqla-typedpool check` compares it with the database."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqla_typedpool import Executor, query


@dataclass(frozen=True, slots=True)
class Offer:
    id: int
    name: str
    price: Decimal
    stock: int


@dataclass(frozen=True, slots=True)
class Sale:
    name: str
    sold: int
    revenue: Decimal


@dataclass(frozen=True, slots=True)
class Line:
    id: int
    name: str
    quantity: int
    placed_at: datetime


@query("SELECT id, name, price, stock FROM products WHERE name ILIKE :pattern ORDER BY name")
async def offers(db: Executor, *, pattern: str = "%") -> list[Offer]:
    raise NotImplementedError


@query("""
    UPDATE products SET stock = stock - :quantity
    WHERE id = :product_id AND stock >= :quantity
    RETURNING stock
""")
async def take(db: Executor, *, product_id: int, quantity: int) -> int | None:
    """Return how many are left; None if there were too few."""
    raise NotImplementedError


@query("INSERT INTO orders (product_id, quantity) VALUES (:product_id, :quantity) RETURNING id")
async def place(db: Executor, *, product_id: int, quantity: int) -> int:
    raise NotImplementedError


@query("""
    SELECT p.name, sum(o.quantity) AS sold, sum(o.quantity * p.price) AS revenue
    FROM orders o JOIN products p ON p.id = o.product_id
    GROUP BY p.name ORDER BY revenue DESC
""")
async def sales(db: Executor) -> list[Sale]:
    raise NotImplementedError


@query("""
    SELECT o.id, p.name, o.quantity, o.placed_at
    FROM orders o JOIN products p ON p.id = o.product_id
    ORDER BY o.id
""")
def lines(db: Executor) -> AsyncGenerator[Line, None]:
    raise NotImplementedError


@query("SELECT pg_sleep(:seconds)")
async def pause(db: Executor, *, seconds: float) -> None:
    """Stand for a slow statement."""
    raise NotImplementedError
