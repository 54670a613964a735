"""Statements described by real servers: nothing is run, nothing is left, nothing is guessed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from sqla_typedpool.check import CannotRun, Description, Refused, describe
from sqla_typedpool.describe import Describer, describer
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.errors import DescribeTimeout

CASES = json.loads((Path(__file__).parents[1] / "nullability_cases.json").read_text())
SCHEMA = [
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
    "CREATE TYPE pair AS (x int, y text)",
    "CREATE DOMAIN short AS text CHECK (length(value) < 9)",
    "CREATE SEQUENCE tickets",
    "CREATE TABLE team (id bigint PRIMARY KEY, name text NOT NULL)",
    """CREATE TABLE person (id bigint PRIMARY KEY, team_id bigint REFERENCES team,
       name text NOT NULL, nick text, mood mood NOT NULL, moods mood[] NOT NULL,
       at pair NOT NULL, code short NOT NULL,
       born timestamptz NOT NULL, pay numeric NOT NULL, data jsonb NOT NULL, span int4range)""",
]
DRIVERS = ["asyncpg", "psycopg"]

Work = Callable[[AsyncEngine], Coroutine[Any, Any, Any]]


@pytest.fixture
def database(server: Postgres) -> Iterator[Callable[[str], str]]:
    """A fresh database with the schema; called with a driver it gives the URL."""
    asyncio.run(in_database(server.url("asyncpg"), *_FRESH))
    url = sa.make_url(server.url("asyncpg")).set(database="described")
    asyncio.run(in_database(url.render_as_string(hide_password=False), *SCHEMA))
    yield lambda driver: url.set(drivername=f"postgresql+{driver}").render_as_string(
        hide_password=False
    )
    asyncio.run(in_database(server.url("asyncpg"), "DROP DATABASE described WITH (FORCE)"))


_FRESH = ("DROP DATABASE IF EXISTS described WITH (FORCE)", "CREATE DATABASE described")


async def in_database(url: str, *statements: str) -> None:
    async with engine_of(url, isolation_level="AUTOCOMMIT") as engine:
        async with engine.connect() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)


@asynccontextmanager
async def engine_of(url: str, **options: Any) -> AsyncGenerator[AsyncEngine, None]:
    engine = create_async_engine(url, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


def with_engine(url: str, work: Work) -> Any:
    async def main() -> Any:
        async with engine_of(url) as engine:
            return await work(engine)

    return asyncio.run(main())


def described(url: str, statement: Any, **options: Any) -> Description:
    """Described on an engine of its own."""

    async def work(engine: AsyncEngine) -> Description:
        async with describer(engine) as database:
            return await database.describe(statement, **options)

    found: Description = with_engine(url, work)
    return found


def marks(description: Description) -> str:
    return "".join("1" if column.nullable else "0" for column in description.columns)


async def facts(engine: AsyncEngine) -> list[Any]:
    """Everything of the catalogue that a description could change, tables' rows included."""
    async with engine.connect() as connection:
        return [(await connection.execute(text(query))).all() for query in _FACTS]


_FACTS = (
    "SELECT oid, proname, pronamespace FROM pg_proc ORDER BY 1",
    "SELECT oid, relname FROM pg_class ORDER BY 1",
    "SELECT oid, nspname FROM pg_namespace ORDER BY 1",
    "SELECT oid, typname FROM pg_type ORDER BY 1",
    "SELECT count(*) FROM team",
    "SELECT count(*) FROM person",
    "SELECT last_value, is_called FROM tickets",
)


# --------------------------------------------------------------------------- nullability


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_given_cases_are_neither_unsound_nor_needlessly_nullable(
    database: Callable[[str], str], driver: str
) -> None:
    async def work(engine: AsyncEngine) -> dict[str, tuple[str, str]]:
        async with describer(engine) as describing:
            found = {
                case["name"]: marks(await describing.describe(case["sql"]))
                for case in CASES["cases"]
            }
        return {
            case["name"]: (found[case["name"]], case["nullable"])
            for case in CASES["cases"]
            if found[case["name"]] != case["nullable"]
        }

    schema = [part for each in CASES["schema"] for part in each.split(";") if part.strip()]
    asyncio.run(in_database(database("asyncpg"), *schema))
    assert with_engine(database(driver), work) == {}


@pytest.mark.postgres
def test_a_column_says_why_and_where_it_comes_from(database: Callable[[str], str]) -> None:
    sql = "SELECT p.name, p.nick, t.name AS team FROM person p LEFT JOIN team t ON t.id = p.team_id"
    name, nick, team = described(database("asyncpg"), sql).columns
    assert (name.nullable, name.why, name.origin) == (
        False,
        "p.name is NOT NULL",
        "public.person.name",
    )
    assert (nick.nullable, nick.why, nick.missing_with) == (True, "p.nick may be NULL", None)
    assert (team.nullable, team.why) == (True, "t may be missing (LEFT JOIN)")
    assert (team.missing_with, team.origin) == ("t", "public.team.name")


@pytest.mark.postgres
def test_columns_are_missing_together_only_where_one_row_is_the_reason(
    database: Callable[[str], str],
) -> None:
    sql = """SELECT t.id, upper(t.name), lag(t.name, 1, 'x') OVER (), t.name || p.nick,
             t.name = ANY ('{}'), coalesce(t.name, p.nick), max(t.name) OVER ()
             FROM person p LEFT JOIN team t ON t.id = p.team_id"""
    found = described(database("asyncpg"), sql).columns
    assert [each.missing_with for each in found] == ["t", "t", None, None, None, None, None]


@pytest.mark.postgres
def test_relations_of_one_side_are_missing_together(database: Callable[[str], str]) -> None:
    sql = """SELECT t.id, q.id, r.id FROM person p
             LEFT JOIN (team t JOIN person q ON q.team_id = t.id LEFT JOIN team r ON r.id = q.id)
             ON t.id = p.team_id"""
    together, again, further = described(database("asyncpg"), sql).columns
    assert together.missing_with == again.missing_with == "t, q"
    assert further.missing_with == "r"


@pytest.mark.postgres
def test_a_parameter_is_nullable_unless_it_is_never_none(database: Callable[[str], str]) -> None:
    url, sql = database("asyncpg"), "SELECT CAST(:a AS int) + 1 AS a, CAST(:b AS int) AS b"
    assert marks(described(url, sql)) == "11"
    found = described(url, sql, never_null={"a"})
    assert marks(found) == "01"
    assert found.columns[0].why == "parameter a is never None"


# --------------------------------------------------------------------- types and parameters


@pytest.mark.postgres
def test_types_of_every_kind_are_described(database: Callable[[str], str]) -> None:
    sql = "SELECT id, mood, moods, at, code, born, pay, data, span FROM person"
    found = {each.name: each for each in described(database("asyncpg"), sql).columns}
    assert {name: each.type for name, each in found.items()} == {
        "id": "int8",
        "mood": "mood",
        "moods": "mood[]",
        "at": "pair",
        "code": "text",
        "born": "timestamptz",
        "pay": "numeric",
        "data": "jsonb",
        "span": "int4range",
    }
    assert [found[name].python_type for name in ("id", "born", "pay", "data")] == [
        int,
        datetime,
        Decimal,
        None,
    ]
    assert found["mood"].db_type.labels == ("sad", "ok", "happy")
    assert found["moods"].db_type.element == found["mood"].db_type
    assert [name for name, _ in found["at"].db_type.fields] == ["x", "y"]
    assert found["data"].db_type.json


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_parameters_have_names_and_types(database: Callable[[str], str], driver: str) -> None:
    sql = "SELECT id FROM person WHERE id IN :ids AND mood = :mood AND code = :code AND id > :low"
    statement = text(sql).bindparams(sa.bindparam("ids", expanding=True))
    found = described(database(driver), statement).parameters
    assert {(each.name, each.type, each.is_list) for each in found} == {
        ("ids", "int8", True),
        ("mood", "mood", False),
        ("code", "text", False),
        ("low", "int8", False),
    }


@pytest.mark.postgres
def test_core_statements_have_sqlalchemys_names_and_types(database: Callable[[str], str]) -> None:
    person = sa.table("person", sa.column("id", sa.BigInteger), sa.column("data", JSONB))
    found = described(database("asyncpg"), sa.select(person.c.id.label("key"), person.c.data))
    assert [(each.name, each.type) for each in found.columns] == [
        ("key", "int8"),
        ("data", "jsonb"),
    ]
    assert found.columns[1].db_type.json
    assert found.columns[0].origin == "public.person.id"


@pytest.mark.postgres
def test_values_that_a_statement_brings_along_are_no_parameters(
    database: Callable[[str], str],
) -> None:
    person = sa.table("person", sa.column("id", sa.BigInteger), sa.column("nick", sa.Text))
    chosen = sa.select(person.c.id).where(person.c.nick == "a", person.c.id > sa.bindparam("low"))
    assert [each.name for each in described(database("asyncpg"), chosen).parameters] == ["low"]


@pytest.mark.postgres
def test_the_given_keys_decide_what_a_bare_insert_sets(database: Callable[[str], str]) -> None:
    team = sa.table("team", sa.column("id", sa.BigInteger), sa.column("name", sa.Text))
    found = described(database("asyncpg"), sa.insert(team), keys=["id", "name"])
    assert [(each.name, each.type) for each in found.parameters] == [
        ("id", "int8"),
        ("name", "varchar"),
    ]
    assert found.columns == ()


# ------------------------------------------------------------------------------- refusals


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_refusal_tells_place_code_and_hint(database: Callable[[str], str], driver: str) -> None:
    sql = "SELECT id, nmae FROM person"
    with pytest.raises(Refused) as caught:
        described(database(driver), sql)
    assert 'column "nmae" does not exist' in caught.value.message
    assert (caught.value.position, caught.value.code) == (sql.index("nmae"), "42703")
    assert "person.name" in caught.value.hint


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "SELECT 1; END; DROP TABLE person",
        "SELECT 1 /* open",
        "SELECT 'open",
        "SELEC 1",
        "",
        "SELECT CAST(:a AS nothing)",
        "SELECT 1 FROM missing",
        "SELECT 'a\0b'",
        "SELECT '\ud800'",
    ],
)
def test_what_is_not_one_good_statement_is_refused_and_the_next_is_described(
    database: Callable[[str], str], driver: str, sql: str
) -> None:
    async def work(engine: AsyncEngine) -> str:
        async with describer(engine) as describing:
            if sql:
                with pytest.raises(Refused):
                    await describing.describe(sql)
            return marks(await describing.describe("SELECT id, nick FROM person"))

    assert with_engine(database(driver), work) == "01"


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM person;",
        "SELECT id FROM person; ",
        "SELECT id FROM person -- the end",
        "SELECT id FROM person; -- the end",
        "SELECT id /* ; END */ FROM person",
        "SELECT id FROM person WHERE nick <> '; END; --'",
        "SELECT id FROM person WHERE nick <> $$; END$$",
        "; SELECT id FROM person",
        "(SELECT id FROM person)",
        "TABLE team",
        "WITH gone AS (DELETE FROM person RETURNING id) SELECT id FROM gone",
        'SELECT id AS "; END" FROM person',
        'SELECT id AS ":a [1] {b} ""c"" \\" FROM person',
    ],
)
def test_what_stands_around_a_statement_does_no_harm(
    database: Callable[[str], str], driver: str, sql: str
) -> None:
    found = described(database(driver), text(sql.replace(":a", "\\:a")))
    assert marks(found)[0] == "0"
    assert found.notes == ()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("EXPLAIN SELECT 1", ["QUERY PLAN"]),
        ("SHOW work_mem", ["work_mem"]),
        ("CREATE TABLE extra (id int)", []),
        ("DROP TABLE person", []),
        ("DO $$ BEGIN DELETE FROM person; END $$", []),
        ("SET work_mem = '4MB'", []),
        ("COMMIT", []),
        ("VACUUM", []),
        ("NOTIFY somebody", []),
        ("CREATE TABLE copy AS SELECT * FROM person", []),
        ("SELECT FROM person", []),
    ],
)
def test_utility_statements_are_prepared_and_nothing_more(
    database: Callable[[str], str], sql: str, columns: list[str]
) -> None:
    async def work(engine: AsyncEngine) -> Description:
        before = await facts(engine)
        found = await describe(engine, sql)
        assert await facts(engine) == before
        return found

    found = with_engine(database("asyncpg"), work)
    assert [each.name for each in found.columns] == columns
    assert all(each.nullable for each in found.columns)


# -------------------------------------------------------------------------- nothing is left


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_nothing_is_executed_and_nothing_is_left(
    database: Callable[[str], str], driver: str
) -> None:
    heard: list[str] = []

    async def work(engine: AsyncEngine) -> None:
        await in_database(database("asyncpg"), "INSERT INTO team VALUES (1, 'a')")
        before = await facts(engine)
        event.listen(engine.sync_engine, "before_cursor_execute", lambda *_: heard.append(_[2]))
        async with describer(engine) as describing:
            await describing.describe("DELETE FROM team RETURNING id")
            await describing.describe("INSERT INTO team VALUES (:id, :name)")
            await describing.describe("SELECT setval('tickets', 100)")
        assert heard == []
        assert await facts(engine) == before

    with_engine(database(driver), work)


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_callers_transaction_is_left_as_it_was(
    database: Callable[[str], str], driver: str
) -> None:
    async def work(engine: AsyncEngine) -> tuple[str, int]:
        async with AsyncSession(engine) as session:
            await session.execute(text("INSERT INTO team VALUES (7, 'mine')"))
            found = marks(await describe(session, "SELECT id, nick FROM person"))
            with pytest.raises(Refused):
                await describe(session, "SELECT missing")
            await session.commit()
        async with engine.connect() as connection:
            count = (await connection.execute(text("SELECT count(*) FROM team"))).scalar_one()
        return found, count

    assert with_engine(database(driver), work) == ("01", 1)


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_many_statements_do_not_fill_the_servers_locks(
    database: Callable[[str], str], driver: str
) -> None:
    async def work(engine: AsyncEngine) -> int:
        async with engine.connect() as connection, engine.connect() as other:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with describer(connection) as describing:
                for number in range(60):
                    await describing.describe(f"SELECT id + {number} FROM person")
                locks = text("SELECT count(*) FROM pg_locks WHERE pid = :pid")
                held: int = (await other.execute(locks, {"pid": pid})).scalar_one()
            return held

    assert with_engine(database(driver), work) < 25


@pytest.mark.postgres
def test_the_drivers_cache_of_statements_stays_as_it_was(database: Callable[[str], str]) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.fetch("SELECT 41 + 1")
            async with describer(connection) as describing:
                for number in range(5):
                    await describing.describe(f"SELECT id + {number}, mood FROM person")
            names = "SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%person%'"
            assert [row[0] for row in await driver.fetch(names)] == [names]

    with_engine(database("asyncpg"), work)


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_locked_table_exceeds_the_timeout_and_the_next_statement_is_described(
    database: Callable[[str], str], driver: str
) -> None:
    async def work(engine: AsyncEngine) -> float:
        async with engine.begin() as holder:
            await holder.execute(text("LOCK TABLE person IN ACCESS EXCLUSIVE MODE"))
            async with describer(engine, timeout=0.5) as describing:
                began = time.monotonic()
                with pytest.raises(DescribeTimeout) as raised:
                    await describing.describe("SELECT id FROM person")
                seconds = time.monotonic() - began
                assert str(raised.value) == (
                    "the database did not describe 'SELECT id FROM person' within 0.5 s; next: "
                    "check whether a table is locked, or raise the timeout"
                )
                assert marks(await describing.describe("SELECT id FROM team")) == "0"
        return seconds

    assert 0.5 <= with_engine(database(driver), work) < 4


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_lock_is_waited_for_as_long_as_the_timeout_allows(
    database: Callable[[str], str], driver: str
) -> None:
    """Also if the server has lower limits of its own."""

    async def work(engine: AsyncEngine) -> str:
        for limit in ("statement_timeout", "lock_timeout"):
            await in_database(database("asyncpg"), f"ALTER DATABASE described SET {limit} = 100")
        async with engine.connect() as other, engine.begin() as holder:
            await holder.execute(text("SET statement_timeout = 0"))
            await holder.execute(text("LOCK TABLE person IN ACCESS EXCLUSIVE MODE"))
            async with describer(engine, timeout=60) as describing:
                running = asyncio.create_task(describing.describe("SELECT id FROM person"))
                began = time.monotonic()
                while time.monotonic() - began < 0.5 or not await other.scalar(text(_WAITING)):
                    assert not running.done()
                    await asyncio.sleep(0.02)
                await holder.rollback()
                return marks(await running)

    assert with_engine(database(driver), work) == "0"


_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_silent_server_exceeds_the_timeout(own_postgres: Postgres, driver: str) -> None:
    async def work(engine: AsyncEngine) -> float:
        began = time.monotonic()
        try:
            with pytest.raises(DescribeTimeout):
                async with describer(engine, timeout=0.5) as describing:
                    own_postgres.freeze()
                    began = time.monotonic()
                    await describing.describe("SELECT 1")
            return time.monotonic() - began
        finally:
            own_postgres.thaw()

    assert 0.5 <= with_engine(own_postgres.url(driver), work) < 10


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf")])
def test_a_timeout_is_a_positive_number(timeout: float) -> None:
    async def work(engine: AsyncEngine) -> None:
        await describe(engine, "SELECT 1", timeout=timeout)

    with pytest.raises(ValueError, match="timeout must be a positive number of seconds, not"):
        with_engine("sqlite+aiosqlite://", work)


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_lost_connection_ends_the_run_with_one_sentence(
    database: Callable[[str], str], driver: str
) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as other:
            async with describer(engine) as describing:
                kill = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                          WHERE datname = 'described' AND pid <> pg_backend_pid()"""
                await other.execute(text(kill))
                await describing.describe("SELECT id FROM person")

    with pytest.raises(CannotRun, match="connection to the database is lost"):
        with_engine(database(driver), work)


# ------------------------------------------------------------- where no function can be made


async def _read_only(engine: AsyncEngine) -> None:
    await in_database(
        _url(engine), "ALTER DATABASE described SET default_transaction_read_only = on"
    )


async def _without_temp(engine: AsyncEngine) -> None:
    await in_database(
        _url(engine),
        "REVOKE TEMP ON DATABASE described FROM PUBLIC",
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
        "ALTER DATABASE described SET role = reader",
    )


async def _with_event_trigger(engine: AsyncEngine) -> None:
    await in_database(
        _url(engine),
        """CREATE FUNCTION tell() RETURNS event_trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'the application''s code was run'; END $$""",
        "CREATE EVENT TRIGGER teller ON ddl_command_end EXECUTE FUNCTION tell()",
    )


def _url(engine: AsyncEngine) -> str:
    return engine.url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


@pytest.mark.postgres
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("obstacle", "told"),
    [
        (_read_only, "the transaction is read-only"),
        (_without_temp, "the role lacks the privilege TEMP"),
        (_with_event_trigger, "the event trigger teller would run"),
    ],
)
def test_where_no_function_can_be_made_every_column_is_nullable_with_a_note(
    database: Callable[[str], str],
    driver: str,
    obstacle: Callable[[AsyncEngine], Awaitable[None]],
    told: str,
) -> None:
    sql = """SELECT p.id, p.nick, t.name FROM person p
             LEFT JOIN team t ON t.id = p.team_id AND t.id > :low"""

    async def work(engine: AsyncEngine) -> None:
        await obstacle(engine)
        async with describer(engine) as describing:
            found = await describing.describe(sql)
            assert marks(found) == "111"
            assert told in found.notes[0]
            assert "--ephemeral" in found.notes[0]
            assert [each.type for each in found.columns] == ["int8", "text", "text"]

    with_engine(database(driver), work)


@pytest.mark.postgres
def test_more_parameters_than_a_function_has_are_told(database: Callable[[str], str]) -> None:
    sql = "SELECT 1 AS one WHERE 1 IN (" + ", ".join(f":p{n}" for n in range(101)) + ")"
    found = described(database("asyncpg"), sql)
    assert len(found.parameters) == 101
    assert marks(found) == "1"
    assert "101 parameters" in found.notes[0]


# ------------------------------------------------------------------------------ fingerprints


@pytest.mark.postgres
def test_the_fingerprint_changes_with_what_the_statement_uses_and_with_nothing_else(
    database: Callable[[str], str],
) -> None:
    url, sql = database("asyncpg"), "SELECT id, nick, mood FROM person"
    asyncio.run(in_database(url, "CREATE VIEW nicks AS SELECT id, nick FROM person"))

    def prints() -> tuple[str, str]:
        of_view = described(url, "SELECT nick FROM nicks").fingerprint
        return described(url, sql).fingerprint, of_view

    first = prints()
    unrelated = "ALTER TABLE person ADD COLUMN extra int", "ALTER TABLE team ADD COLUMN extra int"
    asyncio.run(in_database(url, *unrelated))
    assert prints() == first
    asyncio.run(in_database(url, "ALTER TABLE person ALTER COLUMN nick SET NOT NULL"))
    second = prints()
    assert not set(second) & set(first)
    asyncio.run(in_database(url, "ALTER TYPE mood ADD VALUE 'angry'"))
    third = prints()
    assert (third[0] != second[0], third[1] == second[1]) == (True, True)


# ---------------------------------------------------------------------------- the door itself


def test_a_database_that_nobody_can_describe_is_told() -> None:
    class Elsewhere:
        name = "oracle"

    async def work() -> None:
        async with engine_of("sqlite+aiosqlite://") as engine, engine.connect() as connection:
            connection.sync_connection.dialect.name = "oracle"  # type: ignore[union-attr]
            async with describer(connection):
                pass

    with pytest.raises(CannotRun, match=r"oracle cannot be described; next: use one"):
        asyncio.run(work())


@pytest.mark.postgres
def test_the_describer_names_family_and_server(server: Postgres) -> None:
    async def work(engine: AsyncEngine) -> Describer:
        async with describer(engine) as found:
            return found

    found = with_engine(server.url("asyncpg"), work)
    assert found.family == "postgresql"
    assert found.server == f"PostgreSQL {server.version.split('.')[0]}"
