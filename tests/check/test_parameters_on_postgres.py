"""asyncpg and psycopg accept exactly the types that `parameter_types.unsupported` accepts.

Each value is inserted into a column of each type, through both drivers, and read back as text.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import defaultdict
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.check.parameter_types import accepted_by, unsupported
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.mapping.dbtypes import postgresql_type

pytest.importorskip("asyncpg")
pytest.importorskip("psycopg")

TYPES = (
    *("bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar"),
    *("name", "bytea", "date", "timestamp", "timestamptz", "time", "timetz", "interval", "uuid"),
    *("inet", "cidr", "json", "jsonb"),
)
# One value of each Python type. The str is one that the column's type can parse.
VALUES: tuple[Any, ...] = (
    *(True, 7, 1.7, Decimal("1.7"), b"ab", bytearray(b"ab"), memoryview(b"ab")),
    *(date(2020, 1, 2), timedelta(hours=1), UUID(int=5)),
    *(ipaddress.ip_address("10.0.0.1"), ipaddress.ip_network("10.0.0.0/8")),
)
STR_FOR = defaultdict(
    lambda: "7",
    uuid="00000000-0000-0000-0000-000000000005",
    inet="10.0.0.1",
    cidr="10.0.0.0/8",
)
# A datetime may or may not have a time zone: each type gets a value that it accepts.
AWARE = datetime(2020, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def values_for(kind: str) -> tuple[Any, ...]:
    is_aware = kind.endswith("tz")
    moment = AWARE if is_aware else AWARE.replace(tzinfo=None)
    clock = time(1, 2, tzinfo=timezone.utc) if is_aware else time(1, 2)
    return (*VALUES, STR_FOR[kind], moment, clock)


async def stored(connection: AsyncConnection, kind: str, value: Any) -> str | None:
    """Insert a value and return what is stored, as text; None if it is refused."""
    statement = text(f"INSERT INTO as_{kind} VALUES (:x) RETURNING CAST(x AS text)")
    try:
        async with connection.begin_nested():
            return str((await connection.execute(statement, {"x": value})).scalar_one())
    except DBAPIError:
        return None


async def compared(connection: AsyncConnection, kind: str, value: Any) -> bool:
    """Return whether the value can be compared with a column of the type."""
    if kind == "json":
        return True  # json has no = operator
    try:
        async with connection.begin_nested():
            statement = text(f"SELECT 1 FROM as_{kind} WHERE x = :x")
            await connection.execute(statement, {"x": value})
    except DBAPIError:
        return False
    return True


async def passed(postgres: Postgres, driver: str) -> dict[tuple[str, int], str | None]:
    """Return (type, number of the value) -> the stored text; None if the value is refused."""
    engine = create_async_engine(postgres.url(driver), poolclass=NullPool)
    found: dict[tuple[str, int], str | None] = {}
    async with engine.connect() as connection:
        for kind in TYPES:
            await connection.execute(text(f"CREATE TEMP TABLE as_{kind} (x {kind})"))
            for number, value in enumerate(values_for(kind)):
                as_text = await stored(connection, kind, value)
                is_fine = as_text is not None and await compared(connection, kind, value)
                found[kind, number] = as_text if is_fine else None
    await engine.dispose()
    return found


def test_the_drivers_accept_exactly_the_supported_types(postgres: Postgres) -> None:
    by_asyncpg = asyncio.run(passed(postgres, "asyncpg"))
    by_psycopg = asyncio.run(passed(postgres, "psycopg"))
    wrong = []
    for (kind, number), one in by_asyncpg.items():
        value, other = values_for(kind)[number], by_psycopg[kind, number]
        db_type = postgresql_type(kind)
        is_fine = one is not None and one == other and not is_changed(kind, value)
        if is_fine != (unsupported(type(value), db_type, "postgresql") is None):
            wrong.append((kind, value, one, other))
    assert wrong == []
    assert all(accepted_by(postgresql_type(kind), "postgresql") for kind in TYPES)


def is_changed(kind: str, value: Any) -> bool:
    """Return whether both drivers accept the value but change it: a date loses the time of day."""
    return kind == "date" and isinstance(value, datetime)
