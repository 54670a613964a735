"""The Python types that the drivers deliver, measured on the server, are those of the tables."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import fetch_all
from sqla_typedpool.check import Description
from sqla_typedpool.describe import describer
from sqla_typedpool.describe.postgres.driver_types import (
    BY_DRIVER,
    DRIVER_CLASSES,
    class_named,
    name_of,
)
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.errors import Refused
from sqla_typedpool.mapping import dbtypes
from sqla_typedpool.mapping.dbtypes import DbType
from tests.describe.postgres.people import DRIVERS, People
from tests.support.engines import make_engine
from tests.support.fetch_lab import no_listener

pytestmark = pytest.mark.postgres

# A value of each type, or several values that arrive as different classes.
_DAYS = "[2026-01-01,2026-01-02)"
VALUES: dict[str, list[str]] = {
    **{key: ["1"] for key in ("int2", "int4", "int8", "oid", "float4", "float8", "numeric")},
    **{key: ["a"] for key in ("text", "varchar", "bpchar", "name", "char", "bytea", "refcursor")},
    **{key: ["2026-01-01"] for key in ("date", "timestamp", "timestamptz")},
    **{key: ["12:00"] for key in ("time", "timetz")},
    **{key: [_DAYS, "empty", "(,)"] for key in ("tsrange", "tstzrange", "daterange")},
    **{key: ["[1,2)", "empty", "(,)"] for key in ("int4range", "int8range", "numrange")},
    **{key: [f"{{{_DAYS}}}", "{}"] for key in ("tsmultirange", "tstzmultirange", "datemultirange")},
    **{key: ["{[1,2)}", "{}"] for key in ("int4multirange", "int8multirange", "nummultirange")},
    **{key: ["1:2:"] for key in ("txid_snapshot", "pg_snapshot")},
    **{key: ["1"] for key in ("xid", "cid", "xid8")},
    **{key: ["a"] for key in ("tsvector", "tsquery", "citext", "ltree", "lquery", "ltxtquery")},
    **{key: ["1", "0"] for key in ("bit", "varbit")},
    "aclitem": ["postgres=arwdDxt/postgres"],
    "bool": ["true"],
    "box": ["(1,2),(3,4)"],
    "cidr": ["10.0.0.0/8", "::/0", "10.0.0.1/32"],
    "circle": ["<(1,2),3>"],
    "hstore": ["a=>1"],
    "inet": ["10.0.0.1", "10.0.0.1/8", "::1", "::1/64"],
    "interval": ["1 day"],
    "jsonpath": ["$.a"],
    "line": ["{1,2,3}"],
    "lseg": ["(1,2),(3,4)"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "money": ["1"],
    "path": ["((1,2),(3,4))", "[(1,2),(3,4)]"],
    "pg_lsn": ["0/1"],
    "point": ["(1,2)"],
    "polygon": ["((1,2),(3,4),(5,6))"],
    "regclass": ["pg_class"],
    "regcollation": ['"C"'],
    "regconfig": ["english"],
    "regdictionary": ["simple"],
    "regnamespace": ["pg_catalog"],
    "regoper": ["||/"],
    "regoperator": ["+(int4,int4)"],
    "regproc": ["pg_sleep"],
    "regprocedure": ["pg_sleep(float8)"],
    "regrole": ["postgres"],
    "regtype": ["int4"],
    "tid": ["(0,1)"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "xml": ["<a/>"],
    "seg": ["1"],  # an extension's type that is in no table
}
EXTENSIONS = ("citext", "ltree", "hstore", "seg")
# Types without literals (record), and JSON, of which SQLAlchemy makes any type.
OTHERS = {"record", "json", "jsonb"}


def _tables() -> set[str]:
    """Return the names of the types in all tables."""
    rows = (
        *dbtypes._POSTGRESQL,
        *dbtypes._POSTGRESQL_TEXTS,
        *dbtypes._POSTGRESQL_BY_DRIVER,
    )
    return {row[2] for row in rows} | set(BY_DRIVER) | dbtypes.EXTENSION_TEXTS


def test_every_type_of_the_tables_is_measured() -> None:
    assert set(VALUES) - {"hstore", "seg"} == _tables() - OTHERS


@pytest.fixture(scope="module")
def typed(server: Postgres) -> Iterator[People]:
    """A database with extensions."""
    found = People(server.url("asyncpg", "typed"))
    asyncio.run(found.create())
    try:
        asyncio.run(found.execute(*(f"CREATE EXTENSION {each}" for each in EXTENSIONS)))
    except Exception as error:
        if "is not available" not in str(error):
            raise
        asyncio.run(found.drop())
        pytest.skip(f"this server has not all extensions: {error}")
    yield found
    asyncio.run(found.drop())


@pytest.mark.parametrize("path", ["fast", "slow"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_drivers_deliver_what_is_described(typed: People, driver: str, path: str) -> None:
    wrong = asyncio.run(_differences(typed.using(driver), path))
    assert wrong == []


async def _differences(database: People, path: str) -> list[str]:
    engine = make_engine(database.url)
    if path == "slow":
        event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
    try:
        return [
            f"{sql}: {found} instead of {described}"
            for sql, described, found in await _measured(engine)
            if not _is_right(described, found)
        ]
    finally:
        await engine.dispose()


async def _measured(engine: AsyncEngine) -> list[tuple[str, DbType, list[Any]]]:
    """Describe each type and an array of it, and fetch the values."""
    measured = []
    async with describer(engine) as database:
        for name, values in VALUES.items():
            cast = '"char"' if name == "char" else name
            literals = [f"CAST('{each}' AS {cast})".replace(":", r"\:") for each in values]
            for wrapped in ("{}", "ARRAY[{}]"):
                sql = " UNION ALL ".join(f"SELECT {wrapped.format(each)}" for each in literals)
                sql = f"SELECT * FROM ({sql}) t(a)" if name != "xml" else sql
                try:
                    described: Description = await database.describe(sql)
                except Refused as error:
                    if error.message == "unsupported XML feature":
                        continue  # this server was built without libxml
                    raise
                found = await fetch_all(engine, Any, text(sql))
                measured.append((sql, described.columns[0].db_type, found))
    return measured


def _is_right(described: DbType, values: list[Any]) -> bool:
    classes = {UUID if isinstance(each, UUID) else type(each) for each in values}
    if described.is_range:
        return all(cls.__name__ == "Range" for cls in classes)
    if described.python is list and described.element is not None and classes == {list}:
        elements = [each for value in values for each in value]
        return not elements or _is_right(described.element, elements)
    if described.python is not None:
        return classes == {described.python}
    if described.usual:
        return classes == set(described.usual)
    # psycopg delivers an array that is not registered as text; SQLAlchemy registers hstore[]
    return described.element is not None and classes in ({str}, {list})


def test_every_type_that_the_drivers_treat_differently_has_a_python_type() -> None:
    assert all(class_named(name) for each in BY_DRIVER.values() for name in each)


def test_the_classes_of_drivers_have_names_for_snapshots() -> None:
    classes = {name: class_named(name) for name in DRIVER_CLASSES}
    assert {name: name_of(cls) for name, cls in classes.items() if cls} == {
        name: name for name in DRIVER_CLASSES
    }
    assert class_named("asyncpg.Nothing") is None
    assert class_named("no_such_driver.Range") is None


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_drivers_accept_the_classes_that_they_deliver(typed: People, driver: str) -> None:
    async def refused(engine: AsyncEngine) -> list[str]:
        wrong = []
        for name in BY_DRIVER:
            cast = '"char"' if name == "char" else name
            async with engine.connect() as connection:
                literal = VALUES[name][0].replace(":", r"\:")
                sql = text(f"SELECT CAST('{literal}' AS {cast})")
                value = (await connection.execute(sql)).scalar_one()
                sql = text(f"SELECT CAST(CAST(:value AS {cast}) AS text)")
                try:
                    await connection.execute(sql, {"value": value})
                except DBAPIError as error:
                    wrong.append(f"{name}: {error}")
        return wrong

    assert typed.using(driver).run(refused) == []
