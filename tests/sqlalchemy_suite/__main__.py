"""Run SQLAlchemy's own tests on TypedPool: `python -m tests.sqlalchemy_suite`.

Without options: the tests of the pools, the engine and asyncio, on SQLite. With `--compare`: those
and the tests of dialects on asyncpg, psycopg and aiosqlite, once with the stock pool and once with
TypedPool; each test that ends differently is printed. The tests are those of the installed
SQLAlchemy; its source distribution is downloaded into `.cache/sqlalchemy`. Further arguments are
for pytest.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import sqlalchemy

from sqla_typedpool.embedded import Postgres

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "sqlalchemy"

PLUGIN = "tests.sqlalchemy_suite.own_tests"
# Tests that need no particular database use the first one; aiosqlite cannot run all of them.
OWN_DATABASES = ["--db=sqlite_file", "--db=aiosqlite_file"]
OWN_TESTS = ["test/engine", "test/ext/asyncio"]
COMPARED_TESTS = [*OWN_TESTS, "test/dialect/test_suite.py"]
COMPARED = ("aiosqlite", "asyncpg", "psycopg")
# They replace SQLAlchemy's addopts and disable plugins that only other tests need.
OPTIONS = [
    *("-q", "--tb=short", "--timeout=60"),
    *("-o", "addopts=-p warnings -p logging --strict-markers"),
    *("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:anyio", "-p", "no:typedpool"),
]
# What README.unittests.rst of SQLAlchemy requires.
ACCOUNT = ["CREATE ROLE scott SUPERUSER LOGIN PASSWORD 'tiger'", "CREATE DATABASE test OWNER scott"]
SCHEMAS = ["CREATE SCHEMA test_schema", "CREATE SCHEMA test_schema_2"]


def source() -> Path:
    """Return the folder of the source distribution of the installed SQLAlchemy.

    It is downloaded at first use."""
    name = f"sqlalchemy-{sqlalchemy.__version__}"
    folder, archive = CACHE / name, CACHE / f"{name}.tar.gz"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        requirement = f"sqlalchemy=={sqlalchemy.__version__}"
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=sqlalchemy"]
        subprocess.run([*pip, f"--dest={CACHE}", requirement], check=True)
        with tarfile.open(archive) as content:
            content.extractall(CACHE, filter="data")
    return folder


def run_pytest(*arguments: str) -> int:
    """Run pytest on SQLAlchemy's tests and return its exit status."""
    for left_over in source().glob("*.db"):  # SQLite's files, if a run was interrupted
        left_over.unlink()
    # Without PYTHONNOUSERSITE SQLAlchemy's conftest.py prefers the sources to what is installed.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONNOUSERSITE": "1"}
    command = [sys.executable, "-m", "pytest", *OPTIONS, *arguments]
    return subprocess.run(command, cwd=source(), env=environment, check=False).returncode


def with_paths(arguments: list[str], usual: list[str]) -> list[str]:
    """Return the arguments for pytest; the usual paths are added if they contain none."""
    has_paths = any(argument.startswith("test/") for argument in arguments)
    return arguments if has_paths else [*usual, *arguments]


def outcomes(report: Path) -> dict[str, str]:
    """Return the result of each test in a report of pytest."""
    ended = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        ended[f"{case.get('classname')}::{case.get('name')}"] = _outcome(case)
    return ended


def _outcome(case: ElementTree.Element) -> str:
    for kind in ("error", "failure", "skipped"):
        element = case.find(kind)
        if element is not None:
            is_expected = element.get("type") == "pytest.xfail"
            return f"xfailed ({element.get('message')})" if is_expected else kind
    return "passed"


def compare(database: list[str], name: str, arguments: list[str]) -> int:
    """Run the same tests with both pools, and print the differences.

    :return: how many differences have no reason in `differences`."""
    reports = CACHE / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    ended = []
    for pool, plugin in (("stock", []), ("TypedPool", ["-p", PLUGIN])):
        report = reports / f"{sqlalchemy.__version__}-{name}-{pool}.xml"
        print(f"\n=== {name}, {pool}", flush=True)
        tests = with_paths(arguments, COMPARED_TESTS)
        run_pytest(*plugin, *database, *tests, f"--junitxml={report}")
        ended.append(outcomes(report))
    stock, ours = ended
    different = {
        test: (stock.get(test, "absent"), ours.get(test, "absent"))
        for test in sorted({*stock, *ours})
        if stock.get(test) != ours.get(test)
    }
    print(f"\n=== {name}: {len(stock)} tests, {len(different)} end differently")
    for test, (before, now) in different.items():
        print(f"{test}\n    stock pool: {before}\n    TypedPool: {now}")
    return sum(not now.startswith("xfailed") for _, now in different.values())


async def _prepare(server: Postgres) -> None:
    import asyncpg

    for database, statements in (("postgres", ACCOUNT), ("test", SCHEMAS)):
        connection = await asyncpg.connect(
            host=server.host, port=server.port, user="postgres", database=database
        )
        for statement in statements:
            await connection.execute(statement)
        await connection.close()


def _databases(names: list[str], stack: ExitStack) -> Iterator[tuple[str, list[str]]]:
    """Yield each name with pytest's option for its database; start PostgreSQL if it is needed."""
    server = None
    for name in names:
        if name == "aiosqlite":
            yield name, ["--db=aiosqlite_file"]
            continue
        if server is None:
            settings = {"max_prepared_transactions": "10"}
            server = stack.enter_context(Postgres.start(settings=settings))
            asyncio.run(_prepare(server))
        driver = "psycopg_async" if name == "psycopg" else name
        address = f"scott:tiger@{server.host}:{server.port}/test"
        yield name, ["--dropfirst", f"--dburi=postgresql+{driver}://{address}"]


def main() -> int:
    """Return the exit status: 0 if nothing failed, or nothing differs without a reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.sqlalchemy_suite", description=__doc__)
    parser.add_argument("--compare", action="store_true", help="compare with the stock pool")
    parser.add_argument("--on", action="append", choices=COMPARED, help="compare on this one only")
    options, arguments = parser.parse_known_args()
    if not options.compare:
        return run_pytest("-p", PLUGIN, *OWN_DATABASES, *with_paths(arguments, OWN_TESTS))
    with ExitStack() as stack:
        databases = _databases(options.on or list(COMPARED), stack)
        return min(1, sum(compare(database, name, arguments) for name, database in databases))


if __name__ == "__main__":
    sys.exit(main())
