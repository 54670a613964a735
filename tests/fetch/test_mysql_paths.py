"""aiomysql and asyncmy on both paths: what is sent, what is undone, what an error carries."""

from __future__ import annotations

import asyncio
import uuid
import warnings
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from sqla_typedpool import Json, RowShapeError, TypedPool, execute, fetch_all, fetch_one, stream
from sqla_typedpool.fetch.fast import mysql
from tests.support.engines import make_engine, run, until
from tests.support.fetch_lab import PATHS, Paths, by_path, db_of, error_of
from tests.support.mysql_log import engine_of, plain_engine, sent

if TYPE_CHECKING:
    from tests.support.servers.mariadb import MariaDB

pytestmark = pytest.mark.mariadb
by_driver = pytest.mark.parametrize("driver", ["aiomysql", "asyncmy"])
by_kind = pytest.mark.parametrize("kind", ["engine", "connection", "session"])

NAMES = "SELECT name FROM paths ORDER BY id"
ADD = "INSERT INTO paths (id, name) VALUES (:id, :name)"
ADD_AND_RETURN = f"{ADD} RETURNING id, name"

paths_table = sa.Table(
    "paths",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20)),
)


# ------------------------------------------------------------------------ what is sent


@by_driver
def test_a_fetch_on_an_engine_sends_the_statement_and_a_commit(
    mariadb: MariaDB, driver: str, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver) as engine:
            statements = await sent(mariadb, engine, lambda: fetch_all(engine, str, NAMES))
            assert statements == [NAMES, "COMMIT"]

    run(main())


@by_driver
def test_an_execute_on_an_engine_sends_the_statement_and_a_commit(
    mariadb: MariaDB, driver: str
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver) as engine:
            add = {"id": 2, "name": "50 %"}
            statements = await sent(mariadb, engine, lambda: execute(engine, ADD, add))
            assert statements == ["INSERT INTO paths (id, name) VALUES (2, '50 %')", "COMMIT"]
            assert await fetch_all(engine, str, NAMES) == ["Ada", "50 %"]

    run(main())


@by_driver
def test_in_a_transaction_only_the_statement_is_sent(mariadb: MariaDB, driver: str) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver) as engine:

            async def work() -> None:
                async with engine.begin() as connection:
                    assert await fetch_all(connection, str, NAMES) == ["Ada"]
                    assert await execute(connection, ADD, {"id": 2, "name": "Bob"}) == 1
                    assert await fetch_all(connection, str, NAMES) == ["Ada", "Bob"]

            statements = await sent(mariadb, engine, work)
            added = "INSERT INTO paths (id, name) VALUES (2, 'Bob')"
            assert statements[:4] == [NAMES, added, NAMES, "COMMIT"]

    run(main())


SLOW = {
    "a procedure": "CALL paths_procedure()",
    "two statements": "SELECT 1; SELECT 2",
    "a comment that is executed": "/*! DO */ SELECT 1",
    "a comment that MariaDB executes": "/*M! DO */ SELECT 1",
    "DDL": "CREATE TABLE IF NOT EXISTS paths_2 (id int)",
    "a setting": "SET @paths = 1",
    "a file of the client": "LOAD DATA LOCAL INFILE 'x' INTO TABLE paths",
    "a lock": "LOCK TABLES paths READ",
    "a transaction": "START TRANSACTION",
}
FAST = {
    "a semicolon at the end": "SELECT 1 ; ",
    "comments": "/* a */ -- b\n# c\nSELECT 1",
    "parentheses": "((SELECT 1))",
    "a common table expression": "WITH x AS (SELECT 1) SELECT * FROM x",
    "a replacement": "REPLACE INTO paths VALUES (9, 'x')",
}


@pytest.mark.parametrize("what", [*SLOW, *FAST])
def test_only_one_statement_that_does_not_commit_may_take_the_fast_path(what: str) -> None:
    sql = {**SLOW, **FAST}[what]
    assert mysql.is_plain_sql(sql) is (what in FAST)


@by_driver
def test_a_procedure_with_two_results_returns_the_first(mariadb: MariaDB, driver: str) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver) as engine:
            await execute(
                engine,
                "CREATE OR REPLACE PROCEDURE paths_procedure() "
                "BEGIN SELECT name FROM paths; SELECT 2; END",
            )
            assert await fetch_all(engine, str, "CALL paths_procedure()") == ["Ada"]
            async with engine.connect() as connection:
                assert await fetch_all(connection, str, "CALL paths_procedure()") == ["Ada"]
                assert await fetch_all(connection, str, NAMES) == ["Ada"]

    run(main())


@by_driver
def test_an_engine_that_commits_each_statement_takes_the_slow_path(
    mariadb: MariaDB, driver: str, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver, isolation_level="AUTOCOMMIT") as engine:
            before = paths.slow()
            assert await fetch_all(engine, str, NAMES) == ["Ada"]
            assert paths.slow() == before + 1

    run(main())


# ---------------------------------------------------------------------- what is undone


@by_driver
@by_path
def test_a_statement_is_undone_if_its_columns_do_not_fit(
    mariadb: MariaDB, driver: str, path: str
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver, path) as engine:
            add = {"id": 2, "name": "Bob"}

            async def work() -> None:
                for _ in range(2):
                    with pytest.raises(RowShapeError):
                        await fetch_all(engine, int, ADD_AND_RETURN, add)

            statements = await sent(mariadb, engine, work)
            assert "COMMIT" not in statements
            assert statements.count("ROLLBACK") >= 2
            assert await fetch_all(engine, str, NAMES) == ["Ada"]
            assert await fetch_all(engine, tuple[int, str], ADD_AND_RETURN, add) == [(2, "Bob")]
            assert await fetch_all(engine, str, NAMES) == ["Ada", "Bob"]

    run(main())


@by_driver
def test_a_statement_without_rows_is_undone_if_it_is_fetched(mariadb: MariaDB, driver: str) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver) as engine:
            with pytest.raises(RowShapeError, match="returns no rows"):
                await fetch_all(engine, int, ADD, {"id": 2, "name": "Bob"})
            assert await fetch_all(engine, str, NAMES) == ["Ada"]

    run(main())


@by_driver
@by_path
def test_in_a_transaction_columns_that_do_not_fit_undo_nothing(
    mariadb: MariaDB, driver: str, path: str
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver, path) as engine:
            async with engine.begin() as connection:
                with pytest.raises(RowShapeError):
                    await fetch_all(connection, int, ADD_AND_RETURN, {"id": 2, "name": "Bob"})
                assert await fetch_all(connection, str, NAMES) == ["Ada", "Bob"]
            assert await fetch_all(engine, str, NAMES) == ["Ada", "Bob"]

    run(main())


@by_driver
@by_path
@by_kind
def test_a_cancelled_statement_loses_its_connection_and_commits_nothing(
    mariadb: MariaDB, driver: str, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver, path) as engine:
            pool = TypedPool.of(engine)
            async with db_of(engine, kind) as db:
                slow = "INSERT INTO paths SELECT 5, SLEEP(20)"
                task = asyncio.ensure_future(execute(db, slow))
                assert await until(lambda: pool.stats().in_use == 1)
                await asyncio.sleep(0.1)  # until the server has the statement
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                if kind == "connection":
                    assert db.invalidated
            assert pool.stats().in_use == 0
            assert await fetch_all(engine, str, NAMES) == ["Ada"]

    run(main())


# --------------------------------------------------------------------- unread streams


@by_driver
@by_path
def test_a_fetch_after_a_stream_that_ended_early_returns_its_own_rows(
    mariadb: MariaDB, driver: str, path: str
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver, path) as engine, engine.connect() as connection:
            await fetch_one(connection, int, "SELECT 1")
            rows = stream(connection, int, "SELECT seq FROM seq_1_to_20000")
            async for row in rows:
                assert row == 1
                break
            await rows.aclose()  # type: ignore[attr-defined]
            assert await fetch_all(connection, str, NAMES) == ["Ada"]
            assert await execute(connection, ADD, {"id": 2, "name": "Bob"}) == 1
            assert await fetch_all(connection, str, NAMES) == ["Ada", "Bob"]

    run(main())


@by_driver
@by_path
@pytest.mark.filterwarnings("ignore:Previous unbuffered result was left incomplete")
def test_a_fetch_while_a_stream_is_open_returns_its_own_rows(
    mariadb: MariaDB, driver: str, path: str, paths: Paths
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver, path) as engine, engine.connect() as connection:
            rows = stream(connection, int, "SELECT seq FROM seq_1_to_20000")
            assert await anext(rows) == 1
            before = paths.slow()
            assert await fetch_all(connection, str, NAMES) == ["Ada"]
            assert paths.slow() == before + 1
            await rows.aclose()  # type: ignore[attr-defined]

    run(main())


# ------------------------------------------------------------------- values and counts

VALUES = """
    SELECT CAST(1 AS decimal(5, 2)), CAST('-26:00:01' AS time), b'101', X'00FF', 'a', 1 = 1,
        CAST('{"a": [1]}' AS char), NULL, '50%', name FROM paths
"""


@by_driver
@by_kind
def test_values_are_the_same_on_both_paths(mariadb: MariaDB, driver: str, kind: str) -> None:
    row_type = tuple[Decimal, timedelta, bytes, bytes, str, bool, str, str | None, str, str]
    statements: list[tuple[Any, Any]] = [
        (row_type, VALUES),
        (Annotated[dict[str, list[int]], Json()], "SELECT '{\"a\": [1]}'"),
        (uuid.UUID, sa.select(sa.literal_column(f"'{uuid.UUID(int=7)}'", sa.Uuid))),
        (dict[str, int], sa.select(sa.literal_column("'{\"a\": 1}'", sa.JSON))),
        (Any, sa.select(sa.literal_column("'{\"a\": 1}'", sa.JSON))),
        (Any, "SELECT CAST('0000-00-00' AS date)"),
        (Any, sa.select(paths_table)),
        (Any, sa.delete(paths_table).where(sa.false()).returning(paths_table.c.id)),
    ]

    async def main() -> None:
        found: list[list[Any]] = []
        for path in PATHS:
            async with engine_of(mariadb, driver, path) as engine, db_of(engine, kind) as db:
                found.append([])
                for row, statement in statements:
                    try:
                        rows = await fetch_all(db, row, statement)
                        found[-1].append([(each, type(each)) for each in rows])
                    except Exception as error:
                        found[-1].append((type(error), str(error)))
        assert found[0] == found[1]

    run(main())


@by_driver
@by_kind
def test_the_warnings_of_the_server_are_the_same_on_both_paths(
    mariadb: MariaDB, driver: str, kind: str
) -> None:
    async def main() -> None:
        seen: list[list[str]] = []
        for path in PATHS:
            async with engine_of(mariadb, driver, path) as engine, db_of(engine, kind) as db:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    assert await fetch_one(db, int, "SELECT CAST('one' AS int)") == 0
                    await execute(db, "INSERT IGNORE INTO paths VALUES (1, 'again')")
                seen.append([str(each.message) for each in caught])
        assert seen[0] == seen[1]

    run(main())


COUNTED = {
    "INSERT INTO paths VALUES (2, 'Bob'), (3, 'Cy')": 2,
    "UPDATE paths SET name = name": 3,  # rows found, not rows changed
    "UPDATE paths SET name = 'x' WHERE id = 77": 0,
    "INSERT INTO paths VALUES (3, 'Cy') ON DUPLICATE KEY UPDATE name = 'Di'": 2,
    "REPLACE INTO paths VALUES (3, 'Ed')": 2,
    "SELECT * FROM paths": 3,
    "DELETE FROM paths WHERE id > 1": 2,
}


@by_driver
@by_path
@by_kind
def test_row_counts_are_those_of_sqlalchemy(
    mariadb: MariaDB, driver: str, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver, path) as engine, db_of(engine, kind) as db:
            assert {each: await execute(db, each) for each in COUNTED} == COUNTED

    run(main())


@by_driver
@by_path
def test_the_first_call_of_an_engine_uses_the_conversions_for_its_server(
    mariadb: MariaDB, driver: str, path: str
) -> None:
    """Before it has connected, SQLAlchemy converts UUIDs as for MySQL, not as for MariaDB."""

    async def main() -> None:
        engine = plain_engine(mariadb, driver, path)
        try:
            statement = sa.select(sa.literal_column(f"'{uuid.UUID(int=7)}'", sa.Uuid))
            assert await fetch_one(engine, Any, statement) == uuid.UUID(int=7)
            assert await fetch_one(engine, Any, statement) == uuid.UUID(int=7)
        finally:
            await engine.dispose()

    run(main())


# ------------------------------------------------------------------------------ errors


class Broken:
    def __str__(self) -> str:
        raise ValueError("no text")

    def __repr__(self) -> str:
        return "broken"


ERRORS: dict[str, tuple[Any, Any]] = {
    "a syntax error": ("SELECT FROM FROM", None),
    "an unknown column": ("SELECT nothing FROM paths", None),
    "an unknown table": ("SELECT 1 FROM nothing", None),
    "a broken constraint": (ADD_AND_RETURN, {"id": 1, "name": "x"}),
    "a missing parameter": (ADD, {"id": 1}),
    "a value that cannot be sent": ("SELECT :x", {"x": Broken()}),
    "a value that is too long": (ADD, {"id": 5, "name": "x" * 30}),
    "a Core statement": (sa.insert(paths_table).values(id=1, name="x"), None),
    "a file on the server": ("SELECT name FROM paths INTO OUTFILE '/nowhere/x'", None),
}


@by_driver
@by_kind
@pytest.mark.parametrize("what", ERRORS)
def test_both_paths_raise_the_same_error(
    mariadb: MariaDB, driver: str, kind: str, what: str
) -> None:
    statement, parameters = ERRORS[what]

    async def main() -> None:
        seen = []
        for path in PATHS:
            async with engine_of(mariadb, driver, path) as engine:
                async with db_of(engine, kind) as db:
                    seen.append(traits(await error_of(execute(db, statement, parameters))))
                    assert await fetch_all(db, str, NAMES) == ["Ada"]
                async with db_of(engine, kind) as db:
                    seen.append(traits(await error_of(fetch_one(db, int, statement, parameters))))
        assert seen[0] == seen[2]
        assert seen[1] == seen[3]

    run(main())


def traits(error: BaseException) -> tuple[Any, ...]:
    """The attributes of an error that an application can read."""
    original = getattr(error, "orig", None)
    names = ("statement", "params", "connection_invalidated", "hide_parameters", "code")
    return (
        type(error),
        str(error),
        *(getattr(error, name, None) for name in names),
        type(original),
        getattr(original, "args", None),
        type(error.__cause__),
    )


@by_driver
def test_an_error_of_a_commit_is_the_same_on_both_paths(
    mariadb: MariaDB, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        seen = [await error_of_commit(mariadb, driver, path, monkeypatch) for path in PATHS]
        assert traits(seen[0]) == traits(seen[1])
        assert (seen[0].statement, seen[0].connection_invalidated) == (None, True)

    run(main())


async def error_of_commit(
    server: MariaDB, driver: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Kill the session after its statement and before its COMMIT; return the error."""
    admin = plain_engine(server, driver, "slow")
    async with engine_of(server, driver, path) as engine:
        session = await fetch_one(engine, int, "SELECT CONNECTION_ID()")

        async def kill() -> None:
            await execute(admin, f"KILL {session}")
            gone = f"SELECT count(*) FROM information_schema.PROCESSLIST WHERE ID = {session}"
            while await fetch_one(admin, int, gone):
                await asyncio.sleep(0.01)

        async def commit(adapted: Any) -> None:
            await kill()
            await adapted._connection.commit()

        def on_commit(connection: Any) -> None:
            connection.connection.dbapi_connection.run_async(lambda _: kill())

        with monkeypatch.context() as patch:
            patch.setattr(mysql, "commit", commit)
            if path == "slow":
                event.listen(engine.sync_engine, "commit", on_commit)
            error = await error_of(execute(engine, ADD, {"id": 2, "name": "Bob"}))
        if path == "slow":
            event.remove(engine.sync_engine, "commit", on_commit)
        assert await fetch_all(engine, str, NAMES) == ["Ada"]
    await admin.dispose()
    return error


@by_driver
@by_path
@by_kind
def test_a_lost_connection_is_invalidated(
    mariadb: MariaDB, driver: str, path: str, kind: str
) -> None:
    async def main() -> None:
        async with engine_of(mariadb, driver, path) as engine:
            async with db_of(engine, kind) as db:
                error: Any = await error_of(killed_while_it_runs(mariadb, driver, db))
                assert error.connection_invalidated is True
                assert error.statement == "SELECT SLEEP(20)"
            assert await fetch_all(engine, str, NAMES) == ["Ada"]

    run(main())


async def killed_while_it_runs(server: MariaDB, driver: str, db: Any) -> None:
    """Run a statement and kill its session meanwhile."""
    admin = make_engine(server.url(driver))
    running = (
        "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO = 'SELECT SLEEP(20)' LIMIT 1"
    )
    task = asyncio.ensure_future(fetch_one(db, int, "SELECT SLEEP(20)"))
    try:
        while not (found := await fetch_all(admin, int, running)):
            await asyncio.sleep(0.01)
        await execute(admin, f"KILL {found[0]}")
        await task
    finally:
        await admin.dispose()
