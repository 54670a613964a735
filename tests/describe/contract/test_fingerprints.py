"""The fingerprint of a description changes with what the statement uses, and only with that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.describe.databases import Database

STATEMENTS = ["SELECT nick FROM changing", "SELECT nick FROM changing_view", "SELECT name FROM u"]


@pytest.fixture
def changing(database: Database) -> Iterator[Database]:
    """The database with a table and a view that may be changed."""
    asyncio.run(
        database.execute(
            "CREATE TABLE changing (id int NOT NULL, nick varchar(9))",
            "CREATE TABLE unused (id int)",
            "CREATE VIEW changing_view AS SELECT id, nick FROM changing",
        )
    )
    yield database
    drops = ["DROP VIEW changing_view", "DROP TABLE changing", "DROP TABLE unused"]
    asyncio.run(database.execute(*drops))


async def fingerprints(database: Database) -> list[str]:
    return [(await database.describe(sql)).fingerprint for sql in STATEMENTS]


def test_a_fingerprint_is_the_same_each_time(changing: Database) -> None:
    async def main() -> None:
        first = await fingerprints(changing)
        assert all(first)
        assert await fingerprints(changing) == first

    asyncio.run(main())


def test_a_change_of_an_unused_table_does_not_change_a_fingerprint(changing: Database) -> None:
    async def main() -> None:
        first = await fingerprints(changing)
        await changing.execute("ALTER TABLE unused ADD COLUMN more int")
        assert await fingerprints(changing) == first

    asyncio.run(main())


def test_a_change_of_a_used_column_changes_the_fingerprint(changing: Database) -> None:
    replace = {
        "postgresql": ["ALTER TABLE changing ALTER COLUMN nick SET NOT NULL"],
        "mysql": ["ALTER TABLE changing MODIFY nick varchar(9) NOT NULL"],
        "sqlite": [
            "DROP TABLE changing",
            "CREATE TABLE changing (id int NOT NULL, nick varchar(9) NOT NULL)",
        ],
    }

    async def main() -> None:
        first = await fingerprints(changing)
        await changing.execute(*replace[changing.family])
        table, view, other = await fingerprints(changing)
        assert table != first[0]
        assert view != first[1]
        assert other == first[2]

    asyncio.run(main())
