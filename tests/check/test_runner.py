"""A run without a database: a describer of a few words stands in for it."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Text, bindparam, column, func, make_url, select

from sqla_typedpool.check import describing as asking
from sqla_typedpool.check import runner as run
from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.config import settings_of
from sqla_typedpool.check.database import connected, database_url, said, shown
from sqla_typedpool.check.discovery import Discovered
from sqla_typedpool.check.snapshots import Snapshots, document_of
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun, DescribeTimeout, Refused
from sqla_typedpool.queries import QueryInfo
from tests.support.check_lab import declare, described, maybe, never


class Oracle:
    """Says of every statement what it was told to say."""

    family = "postgresql"
    server = "PostgreSQL 15"

    def __init__(self, answer: Description | Refused) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, tuple[str, ...], tuple[str, ...]]] = []

    async def describe(
        self, statement: Any, *, keys: Collection[str] = (), never_null: Collection[str] = ()
    ) -> Description:
        self.asked.append((str(statement), tuple(keys), tuple(never_null)))
        if isinstance(self.answer, Refused):
            raise self.answer
        return self.answer


def ask(oracle: Oracle, *queries: QueryInfo) -> list[asking.DescribedQuery]:
    stand_in: Any = oracle
    return asyncio.run(asking.ask(stand_in, queries))


def test_each_statement_is_asked_once() -> None:
    oracle = Oracle(described(never("id", "int8")))
    first = declare("SELECT id FROM u WHERE id = :id", list[int], id=int)
    again = declare("SELECT id FROM u WHERE id = :id", list[str], id=int)
    optional = declare("SELECT id FROM u WHERE id = :id", list[int], id=int | None)
    answers = ask(oracle, first, again, optional)
    assert [each.description is not None for each in answers] == [True, True, True]
    assert [never_null for _, _, never_null in oracle.asked] == [("id",), ()]


def test_values_of_a_core_statement_are_asked_for_as_never_null() -> None:
    oracle = Oracle(described(never("x", "text")))
    nick = column("nick", Text)
    given = bindparam("given", "x", Text)
    statement = select(func.coalesce(nick, "none"), nick + given, bindparam("no", None, Text))
    ask(oracle, declare(statement, list[tuple[str, str, str]], given=str | None))
    ((_, _, never_null),) = oracle.asked
    assert never_null == ("coalesce_2",)


def test_the_same_finding_of_a_query_made_twice_is_told_once() -> None:
    both = [declare("SELECT nick FROM u", list[str]) for _ in range(2)]
    findings = [each for info in both for each in compare(info, described(maybe("nick", "text")))]
    report = run.reported(
        Discovered(["app"], [], both), findings, Selection(), "here", time.monotonic()
    )
    assert [each.code for each in report.findings] == ["TP101"]


def test_a_refused_statement_is_a_finding_and_the_run_goes_on() -> None:
    oracle = Oracle(Refused('relation "u" does not exist', position=15, code="42P01"))
    queries = [declare(f"SELECT {number} FROM u", int) for number in (1, 2)]
    answers = ask(oracle, *queries)
    assert [each.findings[0].code for each in answers] == ["TP301", "TP301"]
    assert len(oracle.asked) == 2


def test_an_annotation_that_means_nothing_is_a_finding() -> None:
    oracle = Oracle(described(never("id", "int8")))
    broken = declare("SELECT 1 WHERE :x = 1", int, x="NoSuchClass")
    (answer,) = ask(oracle, broken)
    assert [each.code for each in answer.findings] == ["TP303"]
    assert oracle.asked == []


def test_a_timeout_is_reported_with_the_statement_and_the_option_and_no_password() -> None:
    target = asking.DatabaseTarget(make_url("postgresql://me:s3cret@h/d"))
    error = asking._explained(DescribeTimeout("describe 'SELECT 1'", 0.05), target)
    assert str(error) == (
        "postgresql://me:***@h/d did not describe 'SELECT 1' within 0.05 s; next: check whether "
        "a table is locked, or wait longer with --timeout"
    )


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://me:s3cret@h:5433/d", "PostgreSQL 15 at h:5433/d"),
        ("postgresql:///d", "PostgreSQL 15 at localhost/d"),
        ("sqlite:///x.db", "PostgreSQL 15 at x.db"),
    ],
)
def test_a_report_names_the_server_and_no_password(url: str, name: str) -> None:
    assert asking.DatabaseTarget(make_url(url)).named("PostgreSQL 15") == name
    assert asking.DatabaseTarget(make_url(url), "ephemeral").named("SQLite") == "SQLite (ephemeral)"


def found(*queries: QueryInfo) -> Discovered:
    return Discovered(["tests"], [], queries)


def test_nothing_to_check_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="nothing to check"):
        run.check_snapshots(found(), Snapshots(tmp_path), Selection())


def test_sql_in_calls_is_pointed_at_where_no_query_is_declared(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("from sqla_typedpool import fetch_all\nfetch_all(db, int, 'SELECT 1')\n")
    module = types.ModuleType("app")
    module.__file__ = str(file)
    with pytest.raises(CannotRun, match=r"a call has the SQL in place .*app\.py:2"):
        run.check_snapshots(Discovered(["app"], [module], []), Snapshots(tmp_path), Selection())


def test_no_snapshots_at_all_cannot_run(tmp_path: Path) -> None:
    query = declare("SELECT 1", int)
    with pytest.raises(CannotRun, match="no snapshots in"):
        run.check_snapshots(found(query), Snapshots(tmp_path), Selection())


def snapshots_of(folder: Path, *queries: QueryInfo, **columns: Any) -> Snapshots:
    snapshots = Snapshots(folder)
    documents = {}
    for query in queries:
        sql = query.sql.replace(":id", "$1")
        path = snapshots.path_of(query, "postgresql")
        documents[path] = document_of(query, described(maybe("nick", "text"), sql=sql))
    snapshots.write("postgresql", documents)
    return snapshots


def test_a_snapshot_is_compared_as_a_database_would_be(tmp_path: Path) -> None:
    query = declare("SELECT nick FROM u", list[str])
    report = run.check_snapshots(found(query), snapshots_of(tmp_path, query), Selection())
    assert [each.code for each in report.findings] == ["TP101"]
    assert not report.is_clean


def test_what_is_true_of_two_families_is_told_once(tmp_path: Path) -> None:
    query = declare("SELECT nick FROM u", list[str])
    snapshots = snapshots_of(tmp_path, query)
    other = described(maybe("nick", "text"), sql=query.sql, family="sqlite")
    path = snapshots.path_of(query, "sqlite")
    snapshots.write("sqlite", {path: document_of(query, other)})
    assert snapshots.families() == ["postgresql", "sqlite"]
    report = run.check_snapshots(found(query), snapshots, Selection())
    assert [each.code for each in report.findings] == ["TP101"]
    path.write_text("{")
    report = run.check_snapshots(found(query), snapshots, Selection())
    assert [each.code for each in report.findings] == ["TP101", "TP403"]


def test_a_query_without_a_snapshot_is_a_finding(tmp_path: Path) -> None:
    known = declare("SELECT nick FROM u", list[str | None])
    unknown = declare("SELECT nick FROM u LIMIT 1", list[str | None])
    report = run.check_snapshots(found(known, unknown), snapshots_of(tmp_path, known), Selection())
    assert [each.code for each in report.findings] == ["TP401"]


def test_a_damaged_snapshot_is_a_finding(tmp_path: Path) -> None:
    query = declare("SELECT nick FROM u", list[str | None])
    snapshots = snapshots_of(tmp_path, query)
    snapshots.path_of(query, "postgresql").write_text("{")
    report = run.check_snapshots(found(query), snapshots, Selection())
    assert [each.code for each in report.findings] == ["TP403"]


def test_the_selection_leaves_out_what_is_ignored(tmp_path: Path) -> None:
    query = declare("SELECT nick FROM u", list[str])
    snapshots = snapshots_of(tmp_path, query)
    report = run.check_snapshots(found(query), snapshots, Selection.of(ignore=["TP101"]))
    assert report.findings == ()
    assert report.is_clean


# ----------------------------------------------------------------------- settings


def test_settings_are_read() -> None:
    settings = settings_of({"modules": ["app"], "strict": True, "metadata": "a:b"}, "p.toml")
    assert settings.modules == ("app",)
    assert settings.strict
    assert settings.metadata == "a:b"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"module": ["app"]}, "no option module; did you mean modules?"),
        ({"modules": "app"}, "modules = 'app' is not a list of strings"),
        ({"strict": 1}, "strict = 1 is not true or false"),
        ({"snapshots": 3}, "snapshots = 3 is not a string"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(table: dict[str, Any], words: str) -> None:
    with pytest.raises(CannotRun) as raised:
        settings_of(table, "pyproject.toml")
    assert words in str(raised.value)
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


def test_a_url_of_another_database_is_refused_without_its_password() -> None:
    with pytest.raises(CannotRun, match="checked on") as raised:
        database_url("oracle://me:s3cret@h/d")
    assert "s3cret" not in str(raised.value)
    with pytest.raises(CannotRun, match="the database URL is none") as raised:
        database_url("me:s3cret@h")
    assert "s3cret" not in str(raised.value)


def test_the_word_for_tls_is_asyncpgs() -> None:
    url = database_url("postgres://h/d?sslmode=require&channel_binding=require&x=1")
    assert url.query == {"ssl": "require", "x": "1"}


def test_a_drivers_words_are_shown_without_the_password() -> None:
    url = make_url("postgresql://me:s3cret@h/d?password=other")
    assert "s3cret" not in said(OSError("cannot use postgresql://me:s3cret@h/d"), url)
    assert "s3cret" not in shown(url)
    assert "other" not in shown(url)


def test_a_file_of_sqlite_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    async def main() -> None:
        async with connected(database_url(f"sqlite:///{tmp_path}/none.db")):
            raise AssertionError

    with pytest.raises(CannotRun, match=r"there is no SQLite database .*none\.db"):
        asyncio.run(main())
    assert list(tmp_path.iterdir()) == []
