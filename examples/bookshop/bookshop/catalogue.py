"""Books and their authors: declared queries as plain functions."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated

from sqla_typedpool import Executor, Flatten, RowCount, query


@dataclass(frozen=True, slots=True)
class Author:
    id: int
    name: str
    born: date | None


@dataclass(frozen=True, slots=True)
class Book:
    id: int
    title: str
    price: Decimal
    stock: int
    tags: list[str]


@dataclass(frozen=True, slots=True)
class BookPage:
    """The data of a book's page. An anonymous book has no author."""

    id: int
    title: str
    price: Decimal
    author: Annotated[Author | None, Flatten(prefix="author_")]


@query("SELECT NOT EXISTS (SELECT FROM books)")
async def is_empty(db: Executor) -> bool:
    """Return a single value, which always exists."""
    raise NotImplementedError


@query("""
    SELECT b.id, b.title, b.price,
           a.id AS author_id, a.name AS author_name, a.born AS author_born
    FROM books b
    LEFT JOIN authors a ON a.id = b.author_id
    WHERE b.id = :book_id
""")
async def page(db: Executor, *, book_id: int) -> BookPage | None:
    """Join two tables; columns with the prefix become an object, or None if the row is missing."""
    raise NotImplementedError


@query("SELECT id, title, price, stock, tags FROM books WHERE id = ANY(:ids) ORDER BY title")
async def by_ids(db: Executor, *, ids: list[int]) -> list[Book]:
    """Pass a list as one array parameter; the SQL does not depend on its length."""
    raise NotImplementedError


@query("""
    SELECT id, title, price, stock, tags FROM books
    WHERE title ILIKE '%' || :words || '%' AND (CAST(:tag AS text) IS NULL OR :tag = ANY(tags))
    ORDER BY title
""")
async def search(db: Executor, *, words: str, tag: str | None = None) -> list[Book]:
    """Filter by a tag, unless it is None."""
    raise NotImplementedError


@query("SELECT title FROM books WHERE id = :book_id")
async def title_of(db: Executor, *, book_id: int) -> str | None:
    """Return a single value; None if there is no such book."""
    raise NotImplementedError


@query("""
    SELECT tag, count(*) AS books
    FROM books CROSS JOIN unnest(tags) AS tag
    WHERE tag IS NOT NULL
    GROUP BY tag ORDER BY books DESC, tag
""")
async def tags(db: Executor) -> list[tuple[str, int]]:
    """Return the number of books by tag. The WHERE excludes NULL, which arrays may contain."""
    raise NotImplementedError


@query("""
    INSERT INTO books (title, author_id, price, stock, tags)
    VALUES (:title, :author_id, :price, :stock, :tags)
    RETURNING id
""")
async def add(
    db: Executor,
    *,
    title: str,
    author_id: int | None,
    price: Decimal,
    stock: int,
    tags: list[str],
) -> int:
    """Return the new book's id."""
    raise NotImplementedError


@query("UPDATE books SET price = round(price * :factor, 2) WHERE :tag = ANY(tags)")
async def change_prices(db: Executor, *, tag: str, factor: Decimal) -> RowCount:
    """Return the number of books that have a new price."""
    raise NotImplementedError


@query("""
    UPDATE books SET stock = stock - :copies
    WHERE id = :book_id AND stock >= :copies
    RETURNING stock
""")
async def take(db: Executor, *, book_id: int, copies: int) -> int | None:
    """Return the number of copies that are left; None if there were not enough."""
    raise NotImplementedError
