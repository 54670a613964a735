"""The code for a hundred statements, as it is pasted: the checker and type checkers accept it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

import asyncpg
import pytest
from psycopg.types.range import Range
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import TypedPool, fetch_all, query_info
from sqla_typedpool.check.database_url import database_url
from sqla_typedpool.check.describing import DatabaseTarget
from sqla_typedpool.cli.describe import code_of, statement_facts
from sqla_typedpool.declarations import QUERY, ROW_KINDS
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.tokens import binds
from tests.declarations.statements import SCHEMA, STATEMENTS
from tests.support.check_commands import command

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DRIVERS = ("asyncpg", "psycopg")
DATABASE = "bookshop_code"

_ROW_CLASS = re.compile(r"@dataclass[^\n]*\nclass (\w+Row):\n(?:(?!\n\n\n).)*\n\n\n", re.DOTALL)
_RETURNS = re.compile(r"\) -> [^\n]*(?:\n[^\n]*)*?:\n    raise NotImplementedError\Z")


@pytest.fixture(scope="module")
def urls(postgres: Postgres) -> Iterator[dict[str, str]]:
    """The URLs of a database with the tables, by driver."""

    async def run(database: str, *statements: str) -> None:
        url = postgres.url("asyncpg").replace("+asyncpg", "").rpartition("/")[0]
        connection = await asyncpg.connect(f"{url}/{database}")
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def create() -> None:
        drop = f"DROP DATABASE IF EXISTS {DATABASE}"
        await run("postgres", drop, f"CREATE DATABASE {DATABASE}")
        sys.path.insert(0, str(ROOT / "examples/bookshop"))
        try:
            from bookshop.schema import metadata  # type: ignore[import-not-found, unused-ignore]
        finally:
            sys.path.pop(0)
        engine = create_async_engine(found["asyncpg"])
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        await engine.dispose()
        await run(DATABASE, SCHEMA)

    found = {each: f"{postgres.url(each).rpartition('/')[0]}/{DATABASE}" for each in DRIVERS}
    asyncio.run(create())
    yield found
    asyncio.run(run("postgres", f"DROP DATABASE {DATABASE} WITH (FORCE)"))


@pytest.fixture(scope="module")
def folder(urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package for each driver, with one module for each statement and kind.

    A row class is used by a query in a module of its own.
    """
    created = tmp_path_factory.mktemp("generated")
    for driver in DRIVERS:
        for kind in (*ROW_KINDS, QUERY):
            package = created / f"{driver}_{kind}"
            package.mkdir()
            (package / "__init__.py").touch()
        for number, sql in enumerate(STATEMENTS):
            _write(created, driver, number, sql, urls[driver])
    return created


def _write(created: Path, driver: str, number: int, sql: str, url: str) -> None:
    facts = asyncio.run(statement_facts(sql, DatabaseTarget(database_url(url))))
    query = code_of(QUERY, None, sql, facts)
    (created / f"{driver}_{QUERY}" / f"s{number:03}.py").write_text(query + "\n", encoding="utf-8")
    for kind in ROW_KINDS if facts.description.columns else ():
        package = created / f"{driver}_{kind}"
        code = code_of(kind, "Line", sql, facts)
        (package / f"s{number:03}.py").write_text(code + "\n", encoding="utf-8")
        if ") -> None:" not in query:  # the only result is void
            using = _using(query, f"from {package.name}.s{number:03} import Line")
            (package / f"u{number:03}.py").write_text(using + "\n", encoding="utf-8")


def _using(query: str, row_import: str) -> str:
    """Return a module that declares the same query with another row class."""
    without_class = _ROW_CLASS.sub("", query)
    return f"{row_import}\n" + _RETURNS.sub(
        ") -> list[Line]:\n    raise NotImplementedError", without_class
    )


@pytest.mark.parametrize("kind", [*ROW_KINDS, QUERY])
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_strict_checker_accepts_all_code(
    folder: Path, urls: dict[str, str], driver: str, kind: str
) -> None:
    answer = command(
        folder,
        *("check", f"{driver}_{kind}", "--strict", "--format", "json"),
        *("--database-url", urls[driver]),
    )
    report = json.loads(answer.stdout)
    assert report["findings"] == []
    assert answer.returncode == 0, answer.stderr
    assert report["queries"] >= 85


@pytest.mark.parametrize("driver", DRIVERS)
def test_rows_become_objects_of_the_classes(
    folder: Path, urls: dict[str, str], driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The types of a class are those of the values: each statement without parameters is run."""
    monkeypatch.syspath_prepend(str(folder))

    async def run() -> int:
        engine, count = create_async_engine(urls[driver], poolclass=TypedPool), 0
        for number, sql in enumerate(STATEMENTS):
            for kind in ROW_KINDS if not binds(sql) else ():
                module = import_module(f"{driver}_{kind}.s{number:03}")
                count += bool(await fetch_all(engine, module.Line, sql))
        await engine.dispose()
        return count

    assert asyncio.run(run()) > 200


@pytest.mark.parametrize("driver", DRIVERS)
def test_drivers_accept_values_of_the_declared_parameters(
    folder: Path, urls: dict[str, str], driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each query is called; a constraint may refuse the values, but their types are right."""
    monkeypatch.syspath_prepend(str(folder))
    modules = [import_module(f"{driver}_{QUERY}.s{number:03}") for number in range(len(STATEMENTS))]

    async def run() -> None:
        engine = create_async_engine(urls[driver], poolclass=TypedPool)
        for module in modules:
            (name,) = re.findall(r"^async def (\w+)", Path(module.__file__ or "").read_text(), re.M)
            query = getattr(module, name)
            values = {each.name: a_value(each.annotation) for each in query_info(query).binds}
            if driver == "psycopg":
                values.update({each: TEXTS[each] for each in TEXTS.keys() & values.keys()})
            async with engine.connect() as connection:
                with contextlib.suppress(IntegrityError):
                    await query(connection, **values)
        await engine.dispose()

    asyncio.run(run())


VALUES = {
    int: 1,
    str: "1",
    float: 1.5,
    bytes: b"1",
    Decimal: Decimal(1),
    UUID: UUID(int=1),
    date: date(2020, 1, 1),
    datetime: datetime(2020, 1, 1, tzinfo=timezone.utc),
    time: time(10, tzinfo=timezone.utc),
    timedelta: timedelta(1),
    IPv4Address: IPv4Address("10.0.0.1"),
    Any: "{}",
    asyncpg.BitString: asyncpg.BitString("10101010"),
    asyncpg.Point: asyncpg.Point(1, 2),
}


# The values of psycopg for types that it does not know, by the names of the parameters.
TEXTS = {
    "visit": '("(a,1,b)",,)',
    "places": ["(a,1,b)"],
    "bits": "10101010",
    "spot": "(1,2)",
    "lsn": "0/1",
}


def a_value(annotation: Any) -> Any:
    """Return a value of a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in VALUES:
        return VALUES[annotation]
    if origin is Literal:
        return arguments[0]
    if origin is list:
        return [a_value(arguments[0])]
    if origin is tuple:
        return tuple(map(a_value, arguments))
    if origin in (asyncpg.Range, Range):
        return origin(a_value(arguments[0]), None)
    if arguments:  # a union
        return a_value(arguments[0])
    return next(iter(annotation))  # an Enum


@pytest.mark.timeout(300)
def test_mypy_accepts_all_code(folder: Path) -> None:
    (folder / "mypy.ini").write_text(f"[mypy]\nstrict = true\nmypy_path = {ROOT}\n")
    run_tool(folder, "mypy", ".")


@pytest.mark.timeout(300)
def test_pyright_accepts_all_code(folder: Path) -> None:
    (folder / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    run_tool(folder, "pyright", "--pythonpath", sys.executable, ".")


def test_ruff_changes_no_code(folder: Path) -> None:
    code = [str(each.relative_to(folder)) for each in folder.glob("*/s*.py")]
    run_tool(folder, "ruff", "format", "--isolated", "--diff", *code)
    run_tool(folder, "ruff", "check", "--isolated", "--select", "E,F,I,W", *code)


def run_tool(folder: Path, name: str, *arguments: str) -> None:
    """Run a program of the dependency group `lint`, and require that it finds nothing."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed; it is in the dependency group lint")
    program = [sys.executable, "-m", name, *arguments]
    done = subprocess.run(
        program, check=False, cwd=folder, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
