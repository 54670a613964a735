"""The example runs, its queries pass all checks, and the checker finds errors that are put into it.

All errors are put into one copy of the application, which is checked twice: against a database, and
against the committed snapshots.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.embedded import Postgres
from tests.support.commands import ROOT, run_module

EXAMPLE = ROOT / "examples" / "bookshop"
QUERIES = 22

pytestmark = pytest.mark.timeout(120)


class Shop(NamedTuple):
    """A copy of the example, which a test may change."""

    folder: Path

    def run(self, *command: str, url: str | None = None) -> CompletedProcess[str]:
        """Run `python -m ...` in its folder.

        :param url: the value of DATABASE_URL; None = it is not set.
        """
        pytest.importorskip("asyncpg")
        return run_module(self.folder, *command, **({"DATABASE_URL": url} if url else {}))

    def tool(self, *arguments: str, url: str | None = None) -> CompletedProcess[str]:
        """Run the command `sqla-typedpool` in its folder."""
        return self.run("sqla_typedpool", *arguments, url=url)

    def replace(self, file: str, old: str, new: str) -> None:
        """Replace a text that the file contains once."""
        path = self.folder / file
        source = path.read_text()
        assert source.count(old) == 1, f"{file} contains {source.count(old)} times: {old}"
        path.write_text(source.replace(old, new))


def copy_to(folder: Path) -> Shop:
    copied = folder / "bookshop"
    shutil.copytree(EXAMPLE, copied, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    return Shop(copied)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return copy_to(tmp_path)


@pytest.fixture(scope="module")
def empty_url(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"bookshop_{os.getpid()}"
    _execute_on(postgres, f"CREATE DATABASE {name}")
    yield postgres.url("asyncpg", name)
    _execute_on(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def _execute_on(server: Postgres, statement: str) -> None:
    async def main() -> None:
        engine = create_async_engine(server.url("asyncpg"), isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                await connection.execute(text(statement))
        finally:
            await engine.dispose()

    asyncio.run(main())


@pytest.fixture(scope="module")
def filled(empty_url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The URL of the database after a run of the application, and the output of that run."""
    ended = copy_to(tmp_path_factory.mktemp("day")).run("bookshop", url=empty_url)
    assert (ended.returncode, ended.stderr) == (0, "")
    return empty_url, ended.stdout


# ------------------------------------------------------------------------- without changes


def test_the_application_runs(filled: tuple[str, str]) -> None:
    _, printed = filled
    assert "author=Author(id=2, name='Stanisław Lem', born=datetime.date(1921, 9, 12))" in printed
    assert "title='Beowulf', price=Decimal('9.80'), author=None" in printed
    assert "sold out: The Tale of Genji\n" in printed
    assert "order 1 (Ada, Hull): 38.30, shipped\n" in printed
    assert "turnover: 67.70\n" in printed
    assert printed.endswith("orders of Bo: 0\n")


def test_the_queries_pass_the_check_without_a_database(shop: Shop) -> None:
    ended = shop.tool("check", "--strict")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{QUERIES} queries" in ended.stdout


def test_the_queries_pass_the_check_on_a_database(shop: Shop, filled: tuple[str, str]) -> None:
    ended = shop.tool("check", "--strict", url=filled[0])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{QUERIES} queries" in ended.stdout


@pytest.mark.usefixtures("postgres")  # the command starts one
def test_the_committed_snapshots_are_up_to_date(shop: Shop) -> None:
    ended = shop.tool("prepare", "--check", "--ephemeral")
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.usefixtures("postgres")
@pytest.mark.slow
def test_its_own_tests_pass_and_check_each_query(shop: Shop) -> None:
    ended = shop.run("pytest", "-q", "--typedpool-check", "-p", "no:cacheprovider")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    passed = re.search(r"(\d+) passed", ended.stdout)
    assert passed is not None
    assert int(passed[1]) > QUERIES


# -------------------------------------------------------------------------- with errors


class Mistake(NamedTuple):
    """A change of one file, and the finding that it must cause."""

    code: str
    query: str | None
    """None = the finding is about a file, not about a query."""
    file: str
    old: str
    new: str
    is_of_sql: bool = False
    """Whether the SQL changes, so that no snapshot matches."""


CATALOGUE = "bookshop/catalogue.py"
ORDERS = "bookshop/orders.py"
REPORTS = "bookshop/reports.py"
SCHEMA = "bookshop/schema.py"
BESTSELLERS = "bookshop/sql/bestsellers.sql"

MISTAKES = [
    # the Python side
    Mistake(
        "TP001",
        None,
        ORDERS,
        "address ->> 'city' = :city\")",
        "address ->> 'city' = :city\")  # typedpool: ignore[TP101]",
    ),
    Mistake("TP101", "orders.Orders.lines", ORDERS, "author: str | None", "author: str"),
    Mistake("TP101", "reports.turnover", REPORTS, "-> Decimal | None", "-> Decimal"),
    Mistake("TP102", "reports.sales", REPORTS, "book_id: int", "book: int"),
    Mistake("TP105", "catalogue.take", CATALOGUE, "copies: int) -> int", "copies: int) -> str"),
    Mistake("TP105", "orders.Orders.recent", ORDERS, "tuple[int, datetime]", "tuple[int, str]"),
    Mistake("TP105", "reports.bestsellers", REPORTS, "copies: int", "copies: str"),
    Mistake("TP106", "catalogue.tags", CATALOGUE, "list[tuple[str, int]]", "list[tuple[str]]"),
    Mistake("TP107", "reports.months", REPORTS, "orders: int", "orders: int | None"),
    Mistake(
        "TP110",
        "catalogue.page",
        CATALOGUE,
        "id: int\n    name: str\n",
        "id: int | None\n    name: str | None\n",
    ),
    Mistake("TP111", "orders.Orders.get", SCHEMA, '    CANCELLED = "cancelled"\n', ""),
    Mistake(
        "TP201",
        "catalogue.title_of",
        CATALOGUE,
        "*, book_id: int) -> str | None",
        "*, book_id: str) -> str | None",
    ),
    Mistake(
        "TP201", "orders.Orders.set_status", ORDERS, "status: Status) -> Row", "status: int) -> Row"
    ),
    Mistake(
        "TP302",
        "orders.Orders.forget_cancelled",
        ORDERS,
        "db: Executor) -> None",
        "db: Executor) -> int",
    ),
    # the SQL
    Mistake("TP108", "reports.by_price", REPORTS, "AS cheaper", 'AS "cheaper!"', is_of_sql=True),
    Mistake(
        "TP109",
        "catalogue.add",
        CATALOGUE,
        "RETURNING id\n",
        'RETURNING id AS "id!"\n',
        is_of_sql=True,
    ),
    Mistake(
        "TP112",
        "catalogue.by_ids",
        CATALOGUE,
        "SELECT id, title, price, stock, tags FROM books WHERE id",
        "SELECT * FROM books WHERE id",
        is_of_sql=True,
    ),
    Mistake("TP202", "catalogue.search", CATALOGUE, "CAST(:tag AS text)", ":tag", is_of_sql=True),
    Mistake(
        "TP301",
        "catalogue.is_empty",
        CATALOGUE,
        "(SELECT FROM books)",
        "(SELECT FROM book)",
        is_of_sql=True,
    ),
    Mistake(
        "TP302",
        "catalogue.change_prices",
        CATALOGUE,
        'WHERE :tag = ANY(tags)")',
        'WHERE :tag = ANY(tags) RETURNING id")',
        is_of_sql=True,
    ),
]
OF_PYTHON = [each for each in MISTAKES if not each.is_of_sql]
OF_SQL = [each for each in MISTAKES if each.is_of_sql]


def name_of(mistake: Mistake) -> str:
    return f"{mistake.code}-{mistake.query or mistake.file}"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A copy of the example with all mistakes."""
    shop = copy_to(tmp_path_factory.mktemp("broken"))
    for each in MISTAKES:
        shop.replace(each.file, each.old, each.new)
    return shop


def findings(ended: CompletedProcess[str]) -> list[dict[str, Any]]:
    """Return the findings of a JSON report."""
    assert ended.returncode == 1, ended.stdout + ended.stderr
    found: list[dict[str, Any]] = json.loads(ended.stdout)["findings"]
    return found


@pytest.fixture(scope="module")
def found_on_a_database(broken: Shop, filled: tuple[str, str]) -> list[dict[str, Any]]:
    return findings(broken.tool("check", "--format", "json", url=filled[0]))


@pytest.fixture(scope="module")
def found_offline(broken: Shop) -> list[dict[str, Any]]:
    return findings(broken.tool("check", "--format", "json"))


def findings_of(mistake: Mistake, found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the findings about the mistake's query, or about its file, by code."""
    if mistake.query is None:
        own = [each for each in found if (each["query"], each["file"]) == (None, mistake.file)]
    else:
        own = [each for each in found if each["query"] == f"bookshop.{mistake.query}"]
    return {each["code"]: each for each in own}


@pytest.mark.parametrize("mistake", MISTAKES, ids=name_of)
def test_a_mistake_is_found_on_a_database(
    mistake: Mistake, found_on_a_database: list[dict[str, Any]]
) -> None:
    assert mistake.code in findings_of(mistake, found_on_a_database)


@pytest.mark.parametrize("mistake", OF_PYTHON, ids=name_of)
def test_a_mistake_in_python_is_found_without_a_database(
    mistake: Mistake, found_offline: list[dict[str, Any]]
) -> None:
    assert mistake.code in findings_of(mistake, found_offline)


@pytest.mark.parametrize("mistake", OF_SQL, ids=name_of)
def test_changed_sql_has_no_snapshot(mistake: Mistake, found_offline: list[dict[str, Any]]) -> None:
    assert "TP401" in findings_of(mistake, found_offline)


POINTED_AT = {
    ("TP101", "orders.Orders.lines"): "a.name AS author",
    ("TP105", "reports.bestsellers"): "sum(l.quantity) AS copies",
    ("TP201", "catalogue.title_of"): ":book_id",
    ("TP301", "catalogue.is_empty"): "book",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=name_of)
def test_a_finding_points_at_the_fault(
    mistake: Mistake, broken: Shop, found_on_a_database: list[dict[str, Any]]
) -> None:
    found = findings_of(mistake, found_on_a_database)[mistake.code]
    line = (broken.folder / found["file"]).read_text().splitlines()[found["line"] - 1]
    start = found["column"] - 1
    pointed_at = line[start : start + found["length"]]
    assert pointed_at
    assert pointed_at == POINTED_AT.get((mistake.code, mistake.query or ""), pointed_at)


def test_nothing_else_is_found(
    found_on_a_database: list[dict[str, Any]], found_offline: list[dict[str, Any]]
) -> None:
    wrong = {f"bookshop.{each.query}" for each in MISTAKES if each.query}
    both = [*found_on_a_database, *found_offline]
    elsewhere = [each for each in both if each["query"] not in wrong]
    assert {each["code"] for each in elsewhere} == {"TP001"}


# --------------------------------------------------------------------------------- snapshots


def test_missing_and_damaged_snapshots_are_found(shop: Shop) -> None:
    folder = shop.folder / ".sqla_typedpool" / "postgresql"
    by_name = {file.name.rpartition("-")[0]: file for file in folder.iterdir()}
    by_name["bookshop.catalogue.tags"].unlink()
    damaged = by_name["bookshop.catalogue.take"]
    damaged.write_text(damaged.read_text()[:100])
    found = {each["code"]: each for each in findings(shop.tool("check", "--format", "json"))}
    assert sorted(found) == ["TP401", "TP403"]
    assert found["TP401"]["query"] == "bookshop.catalogue.tags"
    assert "take" in json.dumps(found["TP403"])


@pytest.mark.usefixtures("postgres")
@pytest.mark.slow
def test_stale_and_unused_snapshots_are_found_and_replaced(
    shop: Shop,
) -> None:
    (page,) = (shop.folder / ".sqla_typedpool").glob("*/bookshop.catalogue.page-*.json")
    unused = page.with_name("bookshop.gone-00000000.json")
    shutil.copy(page, unused)
    name, born = 'Column("name", Text, nullable=False)', ',\n    Column("born"'
    shop.replace(SCHEMA, name + born, 'Column("name", Text)' + born)
    ended = shop.tool("prepare", "--check", "--ephemeral", "--format", "json")
    assert {each["code"] for each in findings(ended)} == {"TP402", "TP404"}
    assert shop.tool("prepare", "--ephemeral").returncode == 0
    assert not unused.exists()
    found = findings(shop.tool("check", "--format", "json"))
    assert {(each["code"], each["query"]) for each in found} == {
        ("TP101", "bookshop.catalogue.page")
    }


# ------------------------------------------------------------------------------ declarations


def test_a_faulty_declaration_is_a_finding_beside_those_of_the_other_queries(shop: Shop) -> None:
    shop.replace(CATALOGUE, "*, tag: str, factor: Decimal", "*, factor: Decimal")
    ended = shop.tool("check", "--format", "json")
    assert ended.returncode == 1
    report = json.loads(ended.stdout)
    (faulty,) = [each for each in report["findings"] if each["code"] == "TP303"]
    assert faulty["file"] == "bookshop/catalogue.py"
    assert ":tag" in faulty["message"]
    assert report["queries"] == QUERIES
