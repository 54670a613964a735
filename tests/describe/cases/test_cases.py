"""The nullability of every case is confirmed by execution and described correctly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.check import Description
from sqla_typedpool.describe import describer
from sqla_typedpool.embedded import Postgres
from tests.describe.cases import shop
from tests.describe.cases.loader import FAMILIES, Case, CaseFile, load
from tests.describe.databases import Database, nullability
from tests.describe.execution import (
    DataSets,
    database_name,
    mariadb_data_sets,
    postgres_data_sets,
    sqlite_data_sets,
)
from tests.describe.soundness.check import Result, Statement
from tests.support.servers.mariadb import MariaDB

MOST_CAUTIOUS = 0.1
"""The largest share of PostgreSQL's columns that are never NULL but described as nullable."""

FILES = {family: load(family) for family in FAMILIES}


def parametrize_files(family: str) -> pytest.MarkDecorator:
    """Run a test once for each file with cases for this family."""
    return pytest.mark.parametrize("file", FILES[family], ids=lambda file: file.name)


@pytest.mark.postgres
@parametrize_files("postgresql")
def test_postgresql_describes_the_cases(server: Postgres, file: CaseFile) -> None:
    url = server.url("asyncpg", database_name(file.schema, "empty"))
    asyncio.run(check_file(file, postgres_data_sets(server, file.schema), url))


@parametrize_files("sqlite")
def test_sqlite_describes_the_cases(file: CaseFile, tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}"
    asyncio.run(check_file(file, sqlite_data_sets(), url, create=shop.STRUCTURE["sqlite"]))


@pytest.mark.filterwarnings("ignore::Warning")  # MariaDB's warning for a division by zero
@parametrize_files("mysql")
def test_mariadb_describes_the_cases(mariadb: MariaDB, file: CaseFile) -> None:
    url = mariadb.url().replace(f"/{mariadb.database}", f"/{database_name('shop', 'empty')}")
    asyncio.run(check_file(file, mariadb_data_sets(mariadb), url))


def test_every_driver_describes_the_shared_cases(database: Database) -> None:
    async def main() -> None:
        async with database.engine() as engine:
            wrong = [
                failure
                async for case, found in described(engine, shared.cases)
                for failure in nullability_failures(case, found)
            ]
        assert not wrong, "\n".join(wrong)

    (shared,) = (file for file in FILES[database.family] if file.name == "shared")
    asyncio.run(main())


def test_few_columns_are_described_with_needless_caution() -> None:
    cases = [case for file in FILES["postgresql"] for case in file.cases]
    pairs = [pair for case in cases for pair in zip(case.nullable, case.expected, strict=True)]
    cautious, certain = pairs.count(("0", "1")), sum(truth == "0" for truth, _ in pairs)
    assert cautious <= MOST_CAUTIOUS * certain, f"{cautious} of {certain}"
    assert ("1", "0") not in pairs


@pytest.mark.parametrize(("family", "least"), [("postgresql", 540), ("sqlite", 78), ("mysql", 40)])
def test_no_case_is_lost(family: str, least: int) -> None:
    names = [(file.name, case.name) for file in FILES[family] for case in file.cases]
    assert len(names) == len(set(names)) >= least


# -------------------------------------------------------------------------- the check


async def check_file(
    file: CaseFile,
    data_sets_of: AbstractAsyncContextManager[DataSets],
    url: str,
    create: list[str] | None = None,
) -> None:
    """Describe and execute all cases of a file that this server accepts.

    :param url: the database on which to describe, which has no rows.
    :param create: statements that create the schema in it, if it is new.
    """
    wrong: list[str] = []
    async with data_sets_of as data_sets, engine_of(url, create or []) as engine:
        cases = [case for case in file.cases if is_accepted(case, data_sets)]
        async for case, found in described(engine, cases):
            wrong += nullability_failures(case, found)
            wrong += await execution_failures(case, found, data_sets)
    assert not wrong, "\n".join(wrong)


@asynccontextmanager
async def engine_of(url: str, create: list[str]) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        for statement in create:
            await connection.exec_driver_sql(statement)
    try:
        yield engine
    finally:
        await engine.dispose()


def is_accepted(case: Case, data_sets: DataSets) -> bool:
    """Return whether this server accepts the case, by its version and features."""
    has_features = not case.needs or case.needs in data_sets.features
    return case.since <= data_sets.major and has_features


async def described(engine: AsyncEngine, cases: Any) -> AsyncIterator[tuple[Case, Description]]:
    """Describe the cases, with one describer for each search_path."""
    for path in sorted({case.search_path for case in cases}):
        async with engine.connect() as connection:
            if path:
                await connection.execute(text(f"set local search_path = {path}"))
            async with describer(connection) as database:
                for case in cases:
                    if case.search_path == path:
                        options = {"never_null": case.never_null}
                        yield case, await database.describe(text(case.sql), **options)


def nullability_failures(case: Case, found: Description) -> list[str]:
    """Compare what is described with the truth and with the caution that is expected."""
    marks = nullability(found)
    if len(marks) != len(case.nullable):
        return [f"{case.name}: {len(marks)} columns are described"]
    is_sound = all(mark >= truth for mark, truth in zip(marks, case.nullable, strict=True))
    is_exact = all(mark <= most for mark, most in zip(marks, case.expected, strict=True))
    if is_sound and is_exact:
        return []
    problem = "more cautious than expected" if is_sound else "unsound"
    why = "".join(f"\n  {column.name}: {column.why}" for column in found.columns)
    return [f"{case.name}: {problem}: {case.nullable} is described as {marks}\n  {case.sql}{why}"]


async def execution_failures(case: Case, found: Description, data_sets: DataSets) -> list[str]:
    """Execute the case; compare the NULLs with the truth, and the rest with the description."""
    outcomes = await data_sets.run(
        case.sql, set_up=case.set_up, search_path=case.search_path, values=case.values
    )
    nulls = frozenset[int]().union(*(outcome.nulls for outcome in outcomes.values()))
    seen = "".join("1" if at in nulls else "0" for at in range(len(case.nullable)))
    errors = {outcome.error for outcome in outcomes.values()} - {""}
    if seen != case.nullable or errors:
        return [f"{case.name}: {case.nullable} is {seen} when executed {errors or ''}"]
    statement = Statement(case.sql, dict(case.values), frozenset(case.never_null))
    result = Result(statement, found, "", tuple(outcomes.values()))
    failures = result.failures()
    return [f"{case.name}: {each}" for kind in failures for each in failures[kind]]
