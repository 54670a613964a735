"""Runs without a database; a describer with fixed results replaces it."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    MetaData,
    Table,
    Text,
    bindparam,
    column,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.schema import CreateTable

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement
from sqla_typedpool.check import describing, runner
from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.config import settings_of
from sqla_typedpool.check.database import connected, driver_message
from sqla_typedpool.check.database_url import database_url, shown
from sqla_typedpool.check.describing import compile_query
from sqla_typedpool.check.discovery import Discovered
from sqla_typedpool.check.snapshots import Snapshots, snapshot_text
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun, DeclarationError, DescribeTimeout, Refused
from sqla_typedpool.queries import QueryInfo
from tests.support.check_lab import declare, described, maybe, never


class FixedDescriber:
    """Describes every statement with the same result."""

    family = "postgresql"
    server = "PostgreSQL 15"

    def __init__(self, result: Description | Refused) -> None:
        self.result = result
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    async def describe_compiled(
        self, compiled: CompiledStatement, never_null: Collection[str] = ()
    ) -> Description:
        self.calls.append((compiled.sql, tuple(never_null)))
        if isinstance(self.result, Refused):
            raise self.result
        return self.result


def describe_all(database: FixedDescriber, *queries: QueryInfo) -> list[describing.DescribedQuery]:
    stand_in: Any = database
    return asyncio.run(describing.describe_each(stand_in, queries))


def test_each_statement_is_described_once() -> None:
    database = FixedDescriber(described(never("id", "int8")))
    first = declare("SELECT id FROM u WHERE id = :id", list[int], id=int)
    again = declare("SELECT id FROM u WHERE id = :id", list[str], id=int)
    optional = declare("SELECT id FROM u WHERE id = :id", list[int], id=int | None)
    answers = describe_all(database, first, again, optional)
    assert [each.description is not None for each in answers] == [True, True, True]
    assert [never_null for _, never_null in database.calls] == [("id",), ()]


def test_the_same_sql_with_other_parameter_types_is_described_separately() -> None:
    database = FixedDescriber(described(never("id", "int8")))
    sql = "SELECT id FROM u WHERE doc = :doc"
    typed = text(sql).bindparams(bindparam("doc", type_=JSON))
    describe_all(database, declare(sql, list[int], doc=str), declare(typed, list[int], doc=str))
    assert len(database.calls) == 2


def test_values_of_a_core_statement_are_described_as_never_null() -> None:
    database = FixedDescriber(described(never("x", "text")))
    nick = column("nick", Text)
    given = bindparam("given", "x", Text)
    statement = select(func.coalesce(nick, "none"), nick + given, bindparam("no", None, Text))
    describe_all(database, declare(statement, list[tuple[str, str, str]], given=str | None))
    ((_, never_null),) = database.calls
    assert never_null == ("coalesce_2",)


def test_a_finding_of_a_query_that_is_declared_twice_is_reported_once() -> None:
    both = [declare("SELECT nick FROM u", list[str]) for _ in range(2)]
    findings = [each for info in both for each in compare(info, described(maybe("nick", "text")))]
    report = runner.make_report(
        Discovered(("app",), (), tuple(both)), findings, Selection(), "here", time.monotonic()
    )
    assert [each.code for each in report.findings] == ["TP101"]


def test_a_refused_statement_is_a_finding_and_the_run_goes_on() -> None:
    database = FixedDescriber(Refused('relation "u" does not exist', position=15, code="42P01"))
    queries = [declare(f"SELECT {number} FROM u", int) for number in (1, 2)]
    answers = describe_all(database, *queries)
    assert [each.findings[0].code for each in answers] == ["TP301", "TP301"]
    assert len(database.calls) == 2


def test_a_statement_that_sqlalchemy_cannot_compile_is_a_finding() -> None:
    database = FixedDescriber(described(never("id", "int8")))
    info = replace(declare("SELECT 1", int), statement=CreateTable(Table("t", MetaData())))
    (result,) = describe_all(database, info)
    (finding,) = result.findings
    assert finding.code == "TP301"
    assert finding.message.startswith("SQLAlchemy cannot compile the statement for postgresql: ")
    assert database.calls == []


def test_an_annotation_that_cannot_be_resolved_is_a_finding() -> None:
    database = FixedDescriber(described(never("id", "int8")))
    broken = declare("SELECT 1 WHERE :x = 1", int, x="NoSuchClass")
    (answer,) = describe_all(database, broken)
    assert [each.code for each in answer.findings] == ["TP303"]
    assert database.calls == []


@pytest.mark.parametrize(
    ("option", "advice"), [("--timeout", ", or set a longer --timeout"), ("", "")]
)
def test_a_timeout_advises_the_option_that_sets_it_and_shows_no_password(
    option: str, advice: str
) -> None:
    url = make_url("postgresql://me:s3cret@h/d")
    target = describing.DatabaseTarget(url, seconds=0.05, timeout_option=option)
    error = describing._as_cannot_run(DescribeTimeout("describe 'SELECT 1'", 0.05), target)
    assert str(error) == (
        "postgresql://me:***@h/d did not describe 'SELECT 1' within 0.05 s; next: check whether "
        f"another session has locked a table{advice}"
    )


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://me:s3cret@h:5433/d", "PostgreSQL 15 at h:5433/d"),
        ("postgresql:///d", "PostgreSQL 15 at localhost/d"),
        ("sqlite:///x.db", "PostgreSQL 15 at x.db"),
    ],
)
def test_the_report_names_the_server_without_a_password(url: str, name: str) -> None:
    assert describing.DatabaseTarget(make_url(url)).named("PostgreSQL 15") == name
    assert (
        describing.DatabaseTarget(make_url(url), "ephemeral").named("SQLite")
        == "SQLite (ephemeral)"
    )


def found(*queries: QueryInfo) -> Discovered:
    return Discovered(("tests",), (), queries)


def test_a_run_without_queries_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="nothing to check"):
        runner.check_snapshots(found(), Snapshots(tmp_path), Selection())


def test_a_run_without_queries_names_calls_with_sql(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("from sqla_typedpool import fetch_all\nfetch_all(db, int, 'SELECT 1')\n")
    module = types.ModuleType("app")
    module.__file__ = str(file)
    with pytest.raises(CannotRun, match=r"1 call contains SQL text .*app\.py:2"):
        runner.check_snapshots(
            Discovered(("app",), (module,), ()), Snapshots(tmp_path), Selection()
        )


def test_a_run_without_snapshots_is_an_error(tmp_path: Path) -> None:
    query = declare("SELECT 1", int)
    with pytest.raises(CannotRun, match="no snapshots in"):
        runner.check_snapshots(found(query), Snapshots(tmp_path), Selection())


def test_faulty_declarations_need_no_snapshots(tmp_path: Path) -> None:
    error = DeclarationError("app.bad", tmp_path / "app.py", 1, "no parameter x; next: add x")
    faulty = replace(found(), errors=(error,))
    report = runner.check_snapshots(faulty, Snapshots(tmp_path), Selection())
    (finding,) = report.findings
    assert (finding.code, finding.message, finding.hint) == ("TP303", "no parameter x", "add x")
    assert report.queries == 1


def snapshots_of(folder: Path, *queries: QueryInfo, **columns: Any) -> Snapshots:
    snapshots = Snapshots(folder)
    documents = {}
    for query in queries:
        sql = query.sql.replace(":id", "$1")
        compiled = compile_query(query, "postgresql")
        description = described(maybe("nick", "text"), sql=sql)
        documents[snapshots.path_of(compiled)] = snapshot_text(compiled, description)
    snapshots.write(documents)
    return snapshots


def test_a_query_is_compared_with_its_snapshot(tmp_path: Path) -> None:
    query = declare("SELECT nick FROM u", list[str])
    report = runner.check_snapshots(found(query), snapshots_of(tmp_path, query), Selection())
    assert [each.code for each in report.findings] == ["TP101"]
    assert not report.is_clean


def test_a_finding_for_two_families_is_reported_once(tmp_path: Path) -> None:
    query = declare("SELECT nick FROM u", list[str])
    snapshots = snapshots_of(tmp_path, query)
    other = described(maybe("nick", "text"), sql=query.sql, family="sqlite")
    compiled = compile_query(query, "sqlite")
    path = snapshots.path_of(compiled)
    snapshots.write({path: snapshot_text(compiled, other)})
    assert snapshots.families() == ["postgresql", "sqlite"]
    report = runner.check_snapshots(found(query), snapshots, Selection())
    assert [each.code for each in report.findings] == ["TP101"]
    path.write_text("{")
    report = runner.check_snapshots(found(query), snapshots, Selection())
    assert [each.code for each in report.findings] == ["TP101", "TP403"]


def test_a_query_without_a_snapshot_is_a_finding(tmp_path: Path) -> None:
    known = declare("SELECT nick FROM u", list[str | None])
    unknown = declare("SELECT nick FROM u LIMIT 1", list[str | None])
    report = runner.check_snapshots(
        found(known, unknown), snapshots_of(tmp_path, known), Selection()
    )
    assert [each.code for each in report.findings] == ["TP401"]


def test_a_damaged_snapshot_is_a_finding(tmp_path: Path) -> None:
    query = declare("SELECT nick FROM u", list[str | None])
    snapshots = snapshots_of(tmp_path, query)
    snapshots.path_of(compile_query(query, "postgresql")).write_text("{")
    report = runner.check_snapshots(found(query), snapshots, Selection())
    assert [each.code for each in report.findings] == ["TP403"]


def test_unknown_writes_of_the_first_format_are_one_note(tmp_path: Path) -> None:
    queries = {
        "update": declare(
            "\n    UPDATE books SET stock = stock - :copies\n"
            "    WHERE id = :book_id AND stock >= :copies\n    RETURNING stock\n",
            int,
            book_id=int,
            copies=int,
        ),
        "select": declare("SELECT title FROM books WHERE id = :book_id", str, book_id=int),
    }
    snapshots = Snapshots(tmp_path)
    documents = {
        snapshots.path_of(compile_query(query, "postgresql")): (
            Path(__file__).parent / "golden" / f"format_1_{name}.json"
        ).read_text(encoding="utf-8")
        for name, query in queries.items()
    }
    snapshots.write(documents)
    report = runner.check_snapshots(found(*queries.values()), snapshots, Selection())
    (note,) = report.findings
    assert (note.code, note.severity.value) == ("TP304", "note")
    assert "earlier version" in note.message
    assert note.hint.startswith("run `sqla-typedpool prepare`")
    assert report.is_clean


def test_ignored_findings_are_not_reported(tmp_path: Path) -> None:
    query = declare("SELECT nick FROM u", list[str])
    snapshots = snapshots_of(tmp_path, query)
    report = runner.check_snapshots(found(query), snapshots, Selection.of(ignore=["TP101"]))
    assert report.findings == ()
    assert report.is_clean


# ----------------------------------------------------------------------- settings


def test_settings_are_read() -> None:
    settings = settings_of({"modules": ["app"], "strict": True, "metadata": "a:b"}, "p.toml")
    assert settings.modules == ("app",)
    assert settings.strict
    assert settings.metadata == "a:b"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"module": ["app"]}, "no setting module; did you mean modules?"),
        ({"modules": "app"}, "modules = 'app' is not a list of strings"),
        ({"modules": ["app", 1]}, "modules = ['app', 1] is not a list of strings"),
        ({"metadata": 1}, "metadata = 1 is not a string"),
        ({"strict": 1}, "strict = 1 is not true or false"),
        ({"snapshots": 3}, "snapshots = 3 is not a string"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_file(
    table: dict[str, Any], expected: str
) -> None:
    with pytest.raises(CannotRun) as raised:
        settings_of(table, "pyproject.toml")
    assert expected in str(raised.value)
    assert str(raised.value).startswith("pyproject.toml")


# ------------------------------------------------------------------------- the URL


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgres://me@h/d", "postgresql+asyncpg"),
        ("postgresql://me@h/d", "postgresql+asyncpg"),
        ("postgresql+psycopg2://me@h/d", "postgresql+asyncpg"),
        ("postgresql+psycopg://me@h/d", "postgresql+psycopg"),
        ("sqlite:///x.db", "sqlite+aiosqlite"),
        ("mysql+pymysql://me@h/d", "mysql+aiomysql"),
    ],
)
def test_a_url_gets_an_asynchronous_driver(given: str, driver: str) -> None:
    assert database_url(given).drivername == driver


def test_a_url_of_an_unsupported_database_is_refused_without_its_password() -> None:
    with pytest.raises(CannotRun, match="is not supported") as raised:
        database_url("oracle://me:s3cret@h/d")
    assert "s3cret" not in str(raised.value)
    with pytest.raises(CannotRun, match="is not a database URL: it has no scheme") as raised:
        database_url("me:s3cret@h")
    assert "s3cret" not in str(raised.value)


def test_the_message_of_a_driver_is_shown_without_the_password() -> None:
    url = make_url("postgresql://me:s3cret@h/d?password=other")
    assert "s3cret" not in driver_message(OSError("cannot use postgresql://me:s3cret@h/d"), url)
    assert "s3cret" not in shown(url)
    assert "other" not in shown(url)


@pytest.mark.parametrize("error", [asyncio.TimeoutError(), TimeoutError(), OSError()])
def test_a_time_limit_of_the_driver_is_an_error_of_the_database(error: Exception) -> None:
    target = describing.DatabaseTarget(make_url("postgresql://h/d"))
    assert isinstance(describing._as_cannot_run(error, target), CannotRun)


def test_a_missing_sqlite_file_is_not_created(tmp_path: Path) -> None:
    async def main() -> None:
        async with connected(database_url(f"sqlite:///{tmp_path}/none.db")):
            raise AssertionError

    with pytest.raises(CannotRun, match=r"there is no SQLite database .*none\.db"):
        asyncio.run(main())
    assert list(tmp_path.iterdir()) == []
