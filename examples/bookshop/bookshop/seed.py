"""The first rows: authors, books and customers."""

from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import insert

from sqla_typedpool import Executor, execute

from . import schema

AUTHORS: list[dict[str, Any]] = [
    {"name": "Ursula K. Le Guin", "born": date(1929, 10, 21)},
    {"name": "Stanisław Lem", "born": date(1921, 9, 12)},
    {"name": "Murasaki Shikibu", "born": None},
]
BOOKS: list[dict[str, Any]] = [
    {"title": "The Dispossessed", "author_id": 1, "price": "14.50", "stock": 3, "tags": ["sf"]},
    {"title": "Solaris", "author_id": 2, "price": "11.90", "stock": 5, "tags": ["sf", "sea"]},
    {"title": "The Tale of Genji", "author_id": 3, "price": "29.00", "stock": 1, "tags": ["old"]},
    {"title": "Beowulf", "author_id": None, "price": "9.80", "stock": 4, "tags": ["old", "sea"]},
]
CUSTOMERS: list[dict[str, Any]] = [
    {"name": "Ada", "email": "ada@example.org", "phone": None},
    {"name": "Bo", "email": "bo@example.org", "phone": "+49 30 1234"},
]


async def fill(db: Executor) -> None:
    """Insert the rows. Statements without @query, like these, are not checked."""
    await execute(db, insert(schema.authors), AUTHORS)
    await execute(
        db, insert(schema.books), [{**book, "price": Decimal(book["price"])} for book in BOOKS]
    )
    await execute(db, insert(schema.customers), CUSTOMERS)
