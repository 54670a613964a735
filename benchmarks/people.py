"""The tables, statements and row types of the benchmarks that run on every driver."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import event, insert
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.schema import Column, MetaData, Table
from sqlalchemy.types import Boolean, DateTime, Double, Integer, String

ROWS = 1_000
BORN = datetime(1990, 1, 1)

metadata = MetaData()
people = Table(
    "people",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(40), nullable=False),
    Column("email", String(60), nullable=False),
    Column("born", DateTime, nullable=False),
    Column("score", Double, nullable=False),
    Column("active", Boolean, nullable=False),
)
accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("balance", Integer, nullable=False),
)
notes = Table("notes", metadata, Column("account", Integer), Column("body", String(40)))

TWO = "SELECT id, name FROM people"
SIX = "SELECT id, name, email, born, score, active FROM people"
UPDATE = "UPDATE accounts SET balance = balance + :amount WHERE id = :id"
INSERT = "INSERT INTO notes (account, body) VALUES (:account, :body)"


@dataclass(slots=True)
class Name:
    """Two columns."""

    id: int
    name: str


@dataclass(slots=True)
class Person:
    """Six columns, as PostgreSQL's drivers deliver them."""

    id: int
    name: str
    email: str
    born: datetime
    score: float
    active: bool


@dataclass(slots=True)
class MySQLPerson:
    """The same, as the drivers of MySQL and MariaDB deliver them."""

    id: int
    name: str
    email: str
    born: datetime
    score: float
    active: int


@dataclass(slots=True)
class SQLitePerson:
    """The same, as SQLite delivers them. No value is converted: the bare driver converts none."""

    id: int
    name: str
    email: str
    born: str
    score: float
    active: int


PERSON: dict[str, type[Any]] = {
    "asyncpg": Person,
    "psycopg": Person,
    "aiosqlite": SQLitePerson,
    "aiomysql": MySQLPerson,
    "asyncmy": MySQLPerson,
}


def make_engine(url: URL, options: dict[str, Any]) -> AsyncEngine:
    """An engine. SQLite does not wait for the disk at a COMMIT, as the servers do not here."""
    engine = create_async_engine(url, **options)
    if url.get_backend_name() == "sqlite":
        event.listen(engine.sync_engine, "connect", _do_not_wait_for_the_disk)
    return engine


def _do_not_wait_for_the_disk(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = OFF")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


async def make_tables(engine: AsyncEngine) -> None:
    """Make the tables anew: 1,000 people, ten accounts, no notes."""
    async with engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
        await connection.execute(insert(people), [_person(number) for number in range(ROWS)])
        await connection.execute(
            insert(accounts), [{"id": number, "balance": 0} for number in range(10)]
        )


def _person(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"name {number}",
        "email": f"mail{number}@example.org",
        "born": BORN + timedelta(days=number),
        "score": number / 7,
        "active": number % 2 == 0,
    }
