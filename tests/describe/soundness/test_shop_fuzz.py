"""Random statements on SQLite and MariaDB: no column described as NOT NULL may be NULL."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from sqla_typedpool.check import Description
from sqla_typedpool.describe import Describer
from tests.describe.databases import TARGETS, Database
from tests.describe.execution import DataSets, mariadb_data_sets, sqlite_data_sets
from tests.describe.soundness.check import Statement, check_by_execution
from tests.describe.soundness.fuzz import FuzzReport
from tests.describe.soundness.shop_statements import MARIADB, SQLITE, ShopStatements
from tests.support.servers.mariadb import MariaDB

SEED = 1


def test_sqlite_describes_no_random_column_wrongly_as_not_null(tmp_path: Path) -> None:
    (target,) = (each for each in TARGETS if each.family == "sqlite")
    database = Database(target, target.url(None, tmp_path))

    async def main() -> FuzzReport:
        async with sqlite_data_sets() as data:
            return await fuzz(database, data, ShopStatements(SQLITE, SEED), 1500)

    report = asyncio.run(main())
    assert report.accepted > 1400, report
    assert report.not_null > 1000, report


@pytest.mark.filterwarnings("ignore::Warning")  # MariaDB's warnings about texts as numbers
def test_mariadb_describes_no_random_column_wrongly_as_not_null(mariadb: MariaDB) -> None:
    target = next(each for each in TARGETS if each.family == "mysql")
    database = Database(target, target.url(mariadb, Path(), "fuzz"))

    async def main() -> FuzzReport:
        async with mariadb_data_sets(mariadb) as data:
            return await fuzz(database, data, ShopStatements(MARIADB, SEED), 800)

    report = asyncio.run(main())
    assert report.accepted > 720, report
    assert report.tested > 100, report


async def fuzz(
    database: Database, data: DataSets, statements: ShopStatements, number: int
) -> FuzzReport:
    """Check so many random statements; fail for the first one that is described wrongly."""
    report = FuzzReport()
    await database.create()

    async def check_all(found: Describer) -> None:
        async def describe(sql: str, never_null: frozenset[str]) -> Description:
            return await found.describe(text(sql), never_null=never_null)

        for _ in range(number):
            statement = Statement(statements.statement(), {}, frozenset())
            result = await check_by_execution(statement, describe, data)
            report.add(result)
            assert "unsound" not in result.failures(), (statement.sql, result.failures())

    await database.describing(check_all)
    return report
