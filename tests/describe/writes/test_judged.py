"""What is found in each statement that was judged by hand is confirmed by execution."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.embedded import Postgres
from tests.describe.writes.confirm import description_failures, execution_failures
from tests.describe.writes.execution import (
    WritesDatabase,
    describer_on,
    writes_database,
    writes_describer,
)
from tests.describe.writes.judged import WriteCase, load
from tests.describe.writes.other_databases import (
    LENIENT,
    STRICT,
    mariadb_writes,
    sqlite_writes,
)
from tests.support.servers.mariadb import MariaDB

FAMILIES = ("postgresql", "sqlite", "mysql")
CASES = load("postgresql")
# Each has at least five cases.
SUBJECTS = [
    "insert",
    "multi_row",
    "update",
    "upsert",
    "merge",
    "insert_select",
    "triggers",
    "generated",
    "domains",
    "partitions",
    "views",
]
MODES = {"mariadb_strict": STRICT, "mariadb_lenient": LENIENT}


def accepted(database: WritesDatabase, subject: str) -> list[WriteCase]:
    """Return the cases that this server accepts, by its version and features."""
    return [case for case in CASES[subject] if database.accepts(case.since, case.needs)]


@pytest.mark.postgres
@pytest.mark.parametrize("subject", CASES)
def test_postgresql_writes_are_found_as_judged(server: Postgres, subject: str) -> None:
    async def main() -> list[str]:
        async with writes_database(server) as database, writes_describer(server) as describe:
            return await description_failures(accepted(database, subject), describe)

    wrong = asyncio.run(main())
    assert not wrong, "\n".join(wrong)


@pytest.mark.postgres
def test_psycopg_finds_the_same_writes(postgres: Postgres) -> None:
    async def main() -> list[str]:
        async with writes_database(postgres) as database:
            async with writes_describer(postgres, "psycopg") as describe:
                cases = [case for subject in CASES for case in accepted(database, subject)]
                return await description_failures(cases, describe)

    wrong = asyncio.run(main())
    assert not wrong, "\n".join(wrong)


@pytest.mark.postgres
@pytest.mark.parametrize("subject", CASES)
def test_the_judgement_of_postgresql_writes_is_right(server: Postgres, subject: str) -> None:
    async def main() -> list[str]:
        async with writes_database(server) as database:
            return await execution_failures(accepted(database, subject), database)

    wrong = asyncio.run(main())
    assert not wrong, "\n".join(wrong)


def test_sqlite_writes_are_found_as_judged(tmp_path: Path) -> None:
    async def main() -> list[str]:
        with sqlite_writes(tmp_path / "writes.db"):
            url = f"sqlite+aiosqlite:///{tmp_path / 'writes.db'}"
            engine = create_async_engine(url, poolclass=NullPool)
            async with engine.connect() as connection, describer_on(connection) as describe:
                return await description_failures(load("sqlite")["sqlite"], describe)

    wrong = asyncio.run(main())
    assert not wrong, "\n".join(wrong)


def test_the_judgement_of_sqlite_writes_is_right(tmp_path: Path) -> None:
    with sqlite_writes(tmp_path / "writes.db") as database:
        wrong = asyncio.run(execution_failures(load("sqlite")["sqlite"], database))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("driver", ["aiomysql", "asyncmy"])
@pytest.mark.parametrize("mode", MODES)
def test_mariadb_writes_are_found_as_judged(mariadb: MariaDB, mode: str, driver: str) -> None:
    async def main() -> list[str]:
        async with mariadb_writes(mariadb, MODES[mode], driver) as database:
            async with describer_on(database.connection) as describe:
                return await description_failures(load("mysql")[mode], describe)

    wrong = asyncio.run(main())
    assert not wrong, "\n".join(wrong)


@pytest.mark.filterwarnings("ignore::Warning")  # MariaDB's warnings for what it stores instead
@pytest.mark.parametrize("mode", MODES)
def test_the_judgement_of_mariadb_writes_is_right(mariadb: MariaDB, mode: str) -> None:
    async def main() -> list[str]:
        async with mariadb_writes(mariadb, MODES[mode]) as database:
            return await execution_failures(load("mysql")[mode], database)

    wrong = asyncio.run(main())
    assert not wrong, "\n".join(wrong)


def test_each_subject_has_five_cases_and_all_have_sixty() -> None:
    assert all(len(CASES[subject]) >= 5 for subject in SUBJECTS)
    names = [(subject, case.name) for subject, cases in CASES.items() for case in cases]
    assert len(names) == len(set(names)) >= 280
    assert all(len(cases) >= 20 for cases in (load("sqlite") | load("mysql")).values())


@pytest.mark.parametrize("family", FAMILIES)
def test_each_judgement_agrees_with_itself(family: str) -> None:
    for case in (case for cases in load(family).values() for case in cases):
        assert set(case.optional) <= set(case.values), case.name
        assert case.fails == _expected_failure(case), case.name


def _expected_failure(case: WriteCase) -> str:
    """Return when a case fails according to what is found in it."""
    text = " ".join(case.findings)
    if "TP501" in text and "|" not in text:
        return "always"
    if "TP502" in text and "|" not in text:
        return "with_none"
    is_excused = case.silent or "TP503" in text
    return case.fails if is_excused else "never"
