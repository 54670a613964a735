"""A new database on the PostgreSQL of the session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.engines import new_name

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres


@contextmanager
def scratch_database(server: Postgres, schema: str = "") -> Iterator[str]:
    """Create a database, yield its URL for asyncpg, and drop it.

    :param schema: SQL that creates its tables.
    """
    name = new_name().replace(" ", "_")
    asyncio.run(_run(server, "postgres", f'CREATE DATABASE "{name}"'))
    try:
        if schema:
            asyncio.run(_run(server, name, schema))
        yield server.url("asyncpg", name)
    finally:
        asyncio.run(_run(server, "postgres", f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _run(server: Postgres, database: str, sql: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(server.url("asyncpg", database).replace("+asyncpg", ""))
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
