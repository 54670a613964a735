"""What is found in the values that a statement writes, on a real PostgreSQL.

Each statement is executed too, with None for each parameter that can be None: it fails with a
violation of NOT NULL if and only if an error is found.
"""

from __future__ import annotations

import asyncio
import json
import os
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.describing import compile_query
from sqla_typedpool.check.model import Finding
from sqla_typedpool.describe import describer
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.queries import QueryInfo
from tests.support.check_commands import Answer, command
from tests.support.check_lab import codes, declare

pytest.importorskip("asyncpg")

NOT_NULL_VIOLATION = "23502"

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE teams (id int PRIMARY KEY, name text NOT NULL, nick text);
INSERT INTO teams VALUES (1, 'first', NULL), (2, 'second', 'two');
CREATE TABLE users (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    mail text,
    code varchar(3) NOT NULL DEFAULT 'abc',
    status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'done')),
    mood mood,
    changed text NOT NULL DEFAULT 'now',
    data json NOT NULL DEFAULT '{}',
    strict_data json NOT NULL DEFAULT '{}'
);
INSERT INTO users (name) VALUES ('ann');
"""

metadata = sa.MetaData()
teams = sa.Table(
    "teams",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("nick", sa.Text),
)
users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("mail", sa.Text),
    sa.Column("code", sa.Text, nullable=False, server_default="abc"),
    sa.Column("status", sa.Text, nullable=False, default=lambda: "done"),
    sa.Column("changed", sa.Text, nullable=False, default="then", onupdate=lambda: "now"),
    sa.Column("data", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("strict_data", sa.JSON(none_as_null=True), nullable=False, server_default="{}"),
)
upsert = postgresql.insert(teams).values(id=1, name="a")


def x(kind: Any, sql: str) -> sa.TextClause:
    return sa.text(sql).bindparams(sa.bindparam("x", type_=kind))


def _on_conflict(**values: Any) -> Any:
    return upsert.on_conflict_do_update(index_elements=["id"], set_=values)


# The statement, the types of its parameters, and what is found.
CASES: list[tuple[Any, dict[str, Any], list[str]]] = [
    # text
    ("INSERT INTO users (mail) VALUES ('a')", {}, ["TP501 name"]),
    ("INSERT INTO users DEFAULT VALUES", {}, ["TP501 name"]),
    ("INSERT INTO teams (nick) VALUES (:x)", {"x": str}, ["TP501 id, name"]),
    ("INSERT INTO users (name) VALUES (:x)", {"x": str | None}, ["TP502 x"]),
    ("INSERT INTO users (name) VALUES (:x)", {"x": str}, []),
    ("INSERT INTO users (name, mail) VALUES ('a', :x)", {"x": str | None}, []),
    ("INSERT INTO users (name) VALUES ('a'), (:x)", {"x": str | None}, ["TP502 x"]),
    ("INSERT INTO users (name) VALUES ('a'), (NULL)", {}, ["TP501 name"]),
    ("INSERT INTO users (name) VALUES (DEFAULT)", {}, ["TP501 name"]),
    ("INSERT INTO users (name) VALUES (coalesce(:x, 'a'))", {"x": str | None}, []),
    ("INSERT INTO users (name) VALUES (lower(:x))", {"x": str | None}, ["TP502 x"]),
    ("UPDATE users SET name = :x", {"x": str | None}, ["TP502 x"]),
    ("UPDATE users SET name = coalesce(:x, name)", {"x": str | None}, []),
    ("UPDATE users SET name = NULL", {}, ["TP501 name"]),
    ("UPDATE users SET name = 'a', code = DEFAULT", {}, []),
    ("UPDATE users SET mail = :x WHERE name <> 'b'", {"x": str | None}, []),
    (
        "INSERT INTO teams (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = :x",
        {"x": str | None},
        ["TP502 x"],
    ),
    (
        "MERGE INTO teams t USING (VALUES (1), (9)) s (id) ON t.id = s.id"
        " WHEN MATCHED THEN UPDATE SET nick = :x"
        " WHEN NOT MATCHED THEN INSERT (id, nick) VALUES (s.id, 'a')",
        {"x": str | None},
        ["TP501 name"],
    ),
    (
        "WITH t AS (UPDATE teams SET name = :x WHERE id = 1 RETURNING id)"
        " UPDATE users SET mail = 'a' FROM t",
        {"x": str | None},
        ["TP502 x"],
    ),
    # with a SQLAlchemy type
    (x(sa.JSON(), "UPDATE users SET data = :x"), {"x": Any}, []),
    (x(sa.JSON(), "UPDATE users SET data = :x"), {"x": dict[str, int] | None}, []),
    (
        x(sa.JSON(none_as_null=True), "UPDATE users SET data = :x"),
        {"x": dict[str, int] | None},
        ["TP502 x"],
    ),
    # Core
    (sa.insert(users).values(mail="a"), {}, ["TP501 name"]),
    (sa.insert(users).values(name="a"), {}, []),
    (sa.insert(users).values(name=None), {}, ["TP501 name"]),
    (sa.insert(users).values(name=sa.null()), {}, ["TP501 name"]),
    (sa.insert(users).values(name="a", data=None), {}, []),
    (sa.insert(users).values(name="a", strict_data=None), {}, ["TP501 strict_data"]),
    (sa.insert(users).values([{"name": "a"}, {"name": None}]), {}, ["TP501 name"]),
    (sa.insert(users), {"name": str | None, "mail": str | None}, ["TP502 name"]),
    (sa.insert(users), {"mail": str | None}, ["TP501 name"]),
    (sa.insert(users), {"name": str, "mail": str | None}, []),
    (sa.insert(users).from_select(["name"], sa.select(teams.c.name)), {}, []),
    (sa.update(users).values(name=sa.bindparam("x")), {"x": str | None}, ["TP502 x"]),
    (sa.update(users).values(name=None), {}, ["TP501 name"]),
    (sa.update(users).values(mail=None), {}, []),
    (sa.update(users), {"mail": str | None}, []),
    (sa.update(users), {"name": str | None}, ["TP502 name"]),
    (_on_conflict(name=None), {}, ["TP501 name"]),
    (_on_conflict(name=sa.bindparam("x")), {"x": str | None}, ["TP502 x"]),
    (_on_conflict(nick=None), {}, []),
]

# What is no error: the statement can succeed.
MILDER: list[tuple[Any, dict[str, Any], list[str]]] = [
    ("INSERT INTO users (name) SELECT nick FROM teams WHERE id = 2", {}, ["TP503 name"]),
    ("UPDATE users SET name = t.nick FROM teams t WHERE t.id = 2", {}, ["TP503 name"]),
    ("INSERT INTO users (name) SELECT nick FROM teams WHERE nick IS NOT NULL", {}, []),
    (
        sa.insert(users).from_select(["name"], sa.select(teams.c.nick).where(teams.c.id == 2)),
        {},
        ["TP503 name"],
    ),
    ("UPDATE users SET status = :x", {"x": str}, ["TP504 x"]),
    ("UPDATE users SET status = :x", {"x": Literal["new", "done"]}, []),
    ("UPDATE users SET status = :x", {"x": Literal["new", "old"]}, ["TP504 x"]),
    ("UPDATE users SET code = :x", {"x": Literal["new", "done"]}, ["TP504 x"]),
    ("UPDATE users SET code = :x", {"x": str}, []),
    ("UPDATE users SET mood = :x", {"x": Literal["sad", "ok"] | None}, []),
    ("UPDATE users SET mood = :x", {"x": Literal["sad", "ok", "new"]}, ["TP111 x"]),
]


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of a database with the tables."""
    name = f"writes_check_{os.getpid()}"
    url = postgres.url("asyncpg", name)

    async def run(url: str, *statements: str) -> None:
        engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)

    asyncio.run(run(postgres.url("asyncpg"), f"CREATE DATABASE {name}"))
    asyncio.run(run(url, *SCHEMA.split(";\n")[:-1]))
    yield url
    asyncio.run(run(postgres.url("asyncpg"), f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module", params=["asyncpg", "psycopg"])
def url(request: pytest.FixtureRequest, database: str) -> str:
    """The URL of the database for each driver."""
    pytest.importorskip(request.param)
    return database.replace("asyncpg", request.param)


async def findings_of(connection: AsyncConnection, query: QueryInfo) -> list[Finding]:
    compiled = compile_query(query, "postgresql")
    async with describer(connection) as found:
        description = await found.describe_compiled(compiled.compiled, compiled.never_null)
    assert description.writes is not None
    return compare(query, description)


async def violates_not_null(connection: AsyncConnection, query: QueryInfo) -> bool:
    """Execute a statement, with None for each parameter that can be None."""
    literals = {bind.name: typing.get_args(bind.annotation) or ("new",) for bind in query.binds}
    values = {
        bind.name: None if bind.is_optional else literals[bind.name][0] for bind in query.binds
    }
    try:
        await connection.execute(query.statement, values)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != NOT_NULL_VIOLATION:
            raise
        return True
    return False


def name_of(case: Any) -> str:
    return " ".join(str(case).split())[:60] if not isinstance(case, (dict, list)) else ""


def judged(url: str, statement: Any, binds: dict[str, Any]) -> tuple[list[Finding], bool]:
    """Return what is found, and whether the statement fails."""
    query = declare(statement, None, **binds)

    async def main() -> tuple[list[Finding], bool]:
        engine = create_async_engine(url, poolclass=NullPool)
        async with engine.connect() as connection:
            return await findings_of(connection, query), await violates_not_null(connection, query)

    return asyncio.run(main())


@pytest.mark.parametrize(("statement", "binds", "expected"), CASES, ids=name_of)
def test_an_error_is_found_if_and_only_if_the_statement_fails(
    url: str, statement: Any, binds: dict[str, Any], expected: list[str]
) -> None:
    findings, fails = judged(url, statement, binds)
    assert codes(findings) == expected
    assert fails == bool(expected)


@pytest.mark.parametrize(("statement", "binds", "expected"), MILDER, ids=name_of)
def test_a_value_that_may_be_refused_is_no_error(
    url: str, statement: Any, binds: dict[str, Any], expected: list[str]
) -> None:
    findings, fails = judged(url, statement, binds)
    assert codes(findings) == expected
    assert not fails


# --------------------------------------------------------------------------- snapshots

APP = """\
from sqla_typedpool import Executor, query


@query("INSERT INTO users (name, mail) VALUES (:name, :mail)")
async def add(db: Executor, *, name: str | None, mail: str | None) -> None:
    raise NotImplementedError


@query("INSERT INTO teams (id) VALUES (:id)")
async def add_team(db: Executor, *, id: int) -> None:
    raise NotImplementedError
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def prepare(folder: Path, url: str, *arguments: str) -> Answer:
    return command(folder, "prepare", "app", "--database-url", url, *arguments)


def found_by(folder: Path, *arguments: str) -> Any:
    answer = command(folder, "check", "app", "--format", "json", *arguments)
    findings = json.loads(answer.stdout)["findings"]
    return [{**each, "details": None} for each in findings]


def test_snapshots_find_what_the_database_finds(app: Path, database: str) -> None:
    assert prepare(app, database).returncode == 0
    offline = found_by(app)
    assert [(each["code"], each["line"], each["column"]) for each in offline] == [
        ("TP502", 4, 48),
        ("TP501", 9, 27),
    ]
    assert found_by(app, "--database-url", database) == offline
    assert prepare(app, database, "--check").returncode == 0


def test_a_column_that_becomes_required_makes_a_snapshot_stale(app: Path, database: str) -> None:
    prepare(app, database)
    engine = create_async_engine(database, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    async def run(statement: str) -> None:
        async with engine.connect() as connection:
            await connection.exec_driver_sql(statement)

    asyncio.run(run("ALTER TABLE users ADD born int NOT NULL DEFAULT 1"))
    asyncio.run(run("ALTER TABLE users ALTER born DROP DEFAULT"))
    try:
        answer = prepare(app, database, "--check")
    finally:
        asyncio.run(run("ALTER TABLE users DROP born"))
    assert answer.stdout.count("TP402]") == 1
    assert "query: app.add\n" in answer.stdout


def test_snapshots_of_the_first_format_are_stale_and_written_again(
    app: Path, database: str
) -> None:
    from sqla_typedpool.check.snapshot_format import _digest_of

    prepare(app, database)
    for path in (app / ".sqla_typedpool").rglob("*.json"):
        document = json.loads(path.read_text())
        document["format"] = 1
        del document["writes"]
        document["digest"] = _digest_of(document)
        path.write_text(json.dumps(document))
    assert [(each["code"], each["severity"]) for each in found_by(app)] == [
        ("TP304", "note"),
        ("TP304", "note"),
    ]
    answer = prepare(app, database, "--check")
    assert answer.returncode == 1
    assert answer.stdout.count("error[TP402] the snapshot was written by an earlier version") == 2
    assert "2 written" in prepare(app, database).stdout
    assert prepare(app, database, "--check").returncode == 0
    assert [each["code"] for each in found_by(app)] == ["TP502", "TP501"]
