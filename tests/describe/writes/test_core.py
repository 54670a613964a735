"""Core statements that write: what the checker reports is judged by hand and executed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import bindparam, func, insert, null, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.describing import compile_query
from sqla_typedpool.embedded import Postgres
from tests.describe.writes.execution import DATABASE, describer_on, writes_database
from tests.describe.writes.judged import NOT_NULL_VIOLATION
from tests.describe.writes.test_checked import reported
from tests.support.check_lab import declare

metadata = sa.MetaData()
author = sa.Table(
    "author",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("nick", sa.Text),
    sa.Column("rank", sa.Integer, nullable=False, server_default="1"),
)
named = sa.Table(
    "author",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False, default=lambda: "made", onupdate=lambda: "again"),
    sa.Column("nick", sa.Text),
)
person = sa.Table(
    "person",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("nick", sa.Text, nullable=False),
)
book = sa.Table(
    "book",
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
)
flag = sa.Table(
    "flag",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("data", postgresql.JSONB, nullable=False),
)
upsert = postgresql.insert(author).values(id=1, name=bindparam("name"))
ID: Any = bindparam("key")
NAME: Any = bindparam("name")


@dataclass(frozen=True)
class CoreCase:
    """One statement; `test_judged.py` explains `fails` and `optional`."""

    name: str
    statement: Any
    fails: str
    findings: frozenset[str] = frozenset()
    values: dict[str, Any] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    silent: str = ""

    @property
    def annotations(self) -> dict[str, Any]:
        """The annotations of the parameters."""
        return {
            name: type(value) | None if name in self.optional else type(value)
            for name, value in self.values.items()
        }


NAMED = {"id": 10, "name": "x"}
BY_NAME = frozenset({"TP502 name"})
ALWAYS = frozenset({"TP501"})

CASES = [
    CoreCase("a required column is left out", insert(author), "always", ALWAYS, {"id": 10}),
    CoreCase("declared parameters", insert(author), "never", values=NAMED),
    CoreCase("an Optional one", insert(author), "with_none", BY_NAME, NAMED, ("name",)),
    CoreCase(
        "bind parameters",
        insert(author).values(id=bindparam("id"), name=NAME),
        "with_none",
        BY_NAME,
        NAMED,
        ("name",),
    ),
    CoreCase(
        "a column that may be NULL",
        insert(author),
        "never",
        values={**NAMED, "nick": "n"},
        optional=("nick",),
    ),
    CoreCase("None as the value", insert(author).values(id=10, name=None), "always", ALWAYS),
    CoreCase("null()", insert(author).values(id=10, name=null()), "always", ALWAYS),
    CoreCase(
        "values of the statement",
        insert(author).values([{"id": 10, "name": "x"}, {"id": 11, "name": "y"}]),
        "never",
    ),
    CoreCase(
        "None in the second row",
        insert(author).values([{"id": 10, "name": "x"}, {"id": 11, "name": None}]),
        "always",
        ALWAYS,
    ),
    CoreCase("a default of Python", insert(named), "never", values={"id": 10}),
    CoreCase("onupdate of Python", update(named).values(nick="x"), "never"),
    CoreCase("an identity column", insert(book).inline(), "never", values={"title": "x"}),
    CoreCase(
        "an identity column and RETURNING",
        insert(book).returning(book.c.id),
        "with_none",
        frozenset({"TP502 title"}),
        {"title": "x"},
        ("title",),
    ),
    CoreCase(
        "UPDATE",
        update(author).where(author.c.id == ID).values(name=NAME),
        "with_none",
        BY_NAME,
        {"key": 1, "name": "x"},
        ("name",),
    ),
    CoreCase(
        "UPDATE of a column that may be NULL",
        update(author).where(author.c.id == ID).values(nick=bindparam("nick")),
        "never",
        values={"key": 1, "nick": "x"},
        optional=("nick",),
    ),
    CoreCase(
        "UPDATE with coalesce",
        update(author).values(name=func.coalesce(NAME, author.c.name)),
        "never",
        values={"name": "x"},
        optional=("name",),
    ),
    CoreCase(
        "UPDATE with an expression",
        update(author).values(rank=author.c.rank + bindparam("step")),
        "with_none",
        frozenset({"TP502 step"}),
        {"step": 1},
        ("step",),
    ),
    CoreCase(
        "UPDATE of another column",
        update(author).values(name=author.c.nick),
        "always",
        frozenset({"TP503"}),
    ),
    CoreCase(
        "DO UPDATE with excluded",
        upsert.on_conflict_do_update(index_elements=["id"], set_={"name": upsert.excluded.name}),
        "with_none",
        BY_NAME,
        {"name": "x"},
        ("name",),
    ),
    CoreCase(
        "DO UPDATE with an own parameter",
        postgresql.insert(author)
        .values(id=1, name="x")
        .on_conflict_do_update(index_elements=["id"], set_={"name": bindparam("other")}),
        "with_none",
        frozenset({"TP502 other"}),
        {"other": "x"},
        ("other",),
    ),
    CoreCase(
        "INSERT from a SELECT",
        insert(author).from_select(["id", "name"], select(person.c.id + 20, person.c.name)),
        "always",
        frozenset({"TP503"}),
    ),
    CoreCase(
        "INSERT from a SELECT of required columns",
        insert(author).from_select(["id", "name"], select(person.c.id + 20, person.c.nick)),
        "never",
    ),
    CoreCase(
        "None in JSONB is null of JSON",
        update(flag).values(data=bindparam("data", type_=postgresql.JSONB)),
        "never",
        values={"data": {"a": 1}},
        optional=("data",),
    ),
]


@pytest.mark.postgres
def test_core_statements_are_reported_as_judged(server: Postgres) -> None:
    async def main() -> list[str]:
        async with writes_database(server), _connection(server) as connection:
            async with describer_on(connection) as describe:
                wrong = []
                for case in CASES:
                    info = declare(case.statement, None, **case.annotations)
                    never_null = frozenset(compile_query(info, "postgresql").never_null)
                    keys = info.bind_names
                    description = await describe(info.statement, never_null, keys=keys)
                    found = set(reported(compare(info, description)))
                    if found != case.findings:
                        wrong.append(f"{case.name}: {found} instead of {set(case.findings)}")
                return wrong

    wrong = asyncio.run(main())
    assert not wrong, "\n".join(wrong)


@pytest.mark.postgres
def test_the_judgement_of_core_statements_is_right(server: Postgres) -> None:
    async def main() -> list[str]:
        async with writes_database(server), _connection(server) as connection:
            return [line for case in CASES for line in await _executed(case, connection)]

    wrong = asyncio.run(main())
    assert not wrong, "\n".join(wrong)


async def _executed(case: CoreCase, connection: AsyncConnection) -> list[str]:
    """Execute a case with None for the Optional parameters, and with values."""
    wrong = []
    for nulls in (case.optional, ()):
        must_fail = case.fails == "always" or (case.fails == "with_none" and bool(nulls))
        outcome = await _outcome(case.statement, case.values | dict.fromkeys(nulls), connection)
        if (outcome in NOT_NULL_VIOLATION["postgresql"]) != must_fail or outcome == "0 rows":
            wrong.append(f"{case.name}, {nulls or 'nothing'} None: {outcome}")
    return wrong


async def _outcome(statement: Any, values: dict[str, Any], connection: AsyncConnection) -> str:
    """Return the SQLSTATE, or how many rows were written."""
    try:
        result = await connection.execute(statement, values)
        return f"{len(result.all()) if result.returns_rows else result.rowcount} rows"
    except DBAPIError as error:
        return str(getattr(error.orig, "sqlstate", ""))
    finally:
        await connection.rollback()


def _connection(server: Postgres) -> Any:
    return create_async_engine(server.url("asyncpg", DATABASE), poolclass=NullPool).connect()
