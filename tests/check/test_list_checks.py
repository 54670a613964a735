"""Findings about lists after IN."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import bindparam, column, select, table, text

from sqla_typedpool.check.describing import compile_query
from sqla_typedpool.check.list_checks import COMPARABLE
from sqla_typedpool.check.locations import location_in_sql, offset_as_written
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.parameters import compare_parameters
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.mapping.dbtypes import postgresql_type
from tests.support.check_commands import command
from tests.support.check_lab import codes, declare, described, in_file, takes

IN = "SELECT id FROM t WHERE a IN :x"
NOT_IN = "SELECT id FROM t WHERE a NOT IN :x"
MOOD = postgresql_type("mood", labels=("sad", "ok"))


class Texts(str, enum.Enum):
    SAD = "sad"


def found_for(
    annotation: Any, kind: Any, sql: Any = IN, family: str = "postgresql"
) -> list[Finding]:
    info = declare(sql, None, x=annotation)
    return compare_parameters(info, described(takes("x", kind, is_list=True), family=family))


@pytest.mark.parametrize("family", ["sqlite", "mysql"])
def test_a_list_needs_no_array_on_other_databases(family: str) -> None:
    for annotation in (list[int], set[str], Sequence[bytes], tuple[int, ...]):
        assert found_for(annotation, None, family=family) == []


def test_on_postgresql_an_array_is_proposed() -> None:
    (found,) = found_for(list[int], "int8")
    assert (found.code, found.severity, found.subject) == ("TP205", Severity.NOTE, "x")
    assert found.message == "`IN :x` is another statement for each length of the list"
    assert found.hint == "on PostgreSQL write = ANY(:x)"
    (found,) = found_for(list[int], "int8", NOT_IN)
    assert "`NOT IN :x`" in found.message
    assert found.hint == "on PostgreSQL write <> ALL(:x)"


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [(list[str], "uuid"), (list[Texts], MOOD), (list[str], "inet"), (list[str], "jsonb")],
)
def test_an_empty_list_that_cannot_be_compared_is_an_error(annotation: Any, kind: Any) -> None:
    found = [each for each in found_for(annotation, kind) if each.code == "TP205"]
    assert [each.severity for each in found] == [Severity.ERROR]
    assert "an empty list for :x fails" in found[0].message
    assert found[0].hint == "on PostgreSQL write = ANY(:x)"


def test_the_elements_are_compared_with_the_type_of_the_column() -> None:
    for annotation in (list[str], Sequence[str], set[str], tuple[str, ...]):
        wrong = [each for each in found_for(annotation, "int8") if each.code == "TP201"]
        assert [each.hint for each in wrong] == ["declare it list[int]"], annotation
    assert codes(found_for(list[Texts], MOOD)) == ["TP205 x"]
    assert codes(found_for(list[bytearray], None, family="mysql")) == ["TP204 x"]


def test_none_in_a_list_is_a_note() -> None:
    (found,) = found_for(list[int | None], None, family="sqlite")
    assert (found.code, found.severity) == ("TP203", Severity.NOTE)
    assert found.message == ":x can contain None, but `IN` finds no NULL"
    (found,) = found_for(list[int | None], None, NOT_IN, family="sqlite")
    assert found.message == ":x can contain None, but `NOT IN` is never true then"
    (found,) = found_for(list[int] | None, None, family="sqlite")
    assert found.message == ":x can be None, which is the same as an empty list here"
    assert found_for(list[Any], None, family="sqlite") == []


def test_only_lists_that_are_expanded_here_are_checked() -> None:
    core = (
        select(column("id"))
        .select_from(table("t"))
        .where(column("a").in_(bindparam("x", expanding=True)))
    )
    own = text(IN).bindparams(bindparam("x", expanding=True))
    for statement in (core, own):
        assert found_for(list[int | None], "int8", statement) == []


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
def test_brackets_around_a_list_are_a_finding_with_the_fix(family: str) -> None:
    info = declare("SELECT id FROM t WHERE a IN (:x)", None, x=list[int])
    kind = "int8" if family == "postgresql" else None
    (found,) = compare_parameters(info, described(takes("x", kind), family=family))
    assert found.code == "TP201"
    assert "write IN :x without brackets" in found.hint
    assert ("= ANY(:x)" in found.hint) == (family == "postgresql")


def test_elements_that_can_be_none_are_not_called_never_null() -> None:
    for annotation, never_null in (
        (list[int], ("x", "x[]")),
        (tuple[int, ...], ("x", "x[]")),
        (list[int | None], ()),
        (list[Any], ()),
        (list, ()),
    ):
        assert compile_query(declare(IN, None, x=annotation), "postgresql").never_null == never_null
    core = select(column("a").in_(bindparam("x", expanding=True)))
    assert compile_query(declare(core, None, x=list[int | None]), "postgresql").never_null == ()
    assert compile_query(declare(core, None, x=list[int]), "postgresql").never_null == ("x",)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 WHERE (a IN :x) AND wanted",
        "SELECT 1 WHERE ((a IN :x)) AND wanted = :y",
        "SELECT 1 WHERE a = :y AND a NOT IN :x AND wanted",
        "SELECT (a IN :x), wanted, (:y)",
        "SELECT 1 WHERE wanted = (a IN :x)",
    ],
)
@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
def test_positions_after_an_expanded_list_are_exact(tmp_path: Path, sql: str, family: str) -> None:
    binds = "x: list[int]" + (", y: int" if ":y" in sql else "")
    source = "from sqla_typedpool import Executor, query\n"
    source += f'@query("{sql}")\nasync def declared(db: Executor, *, {binds}) -> None:\n'
    info = in_file(tmp_path / "q.py", source + "    raise NotImplementedError\n")
    sent = compile_query(info, family).compiled.sql
    for part in ("wanted", ")") if ")" in sql else ("wanted",):
        offset = offset_as_written(sql, sent, sent.rindex(part))
        assert offset == sql.rindex(part), part
    assert location_in_sql(info, sql.index("wanted")).column == 9 + sql.index("wanted")


# ------------------------------------------------------------------------ on a database


@pytest.fixture(scope="module")
def operators(postgres: Postgres) -> dict[tuple[str, str], bool]:
    """Whether PostgreSQL compares a column of each type with an empty list of each type."""

    async def main() -> dict[tuple[str, str], bool]:
        url = postgres.url("asyncpg").replace("+asyncpg", "")
        connection = await asyncpg.connect(url)
        names = [*dict.fromkeys(name for each in COMPARABLE.values() for name in each), *OTHERS]
        found = {}
        for empty in COMPARABLE:
            for name in names:
                if name == "citext":
                    continue  # an extension
                sql = f"SELECT CAST(NULL AS {name}) IN (SELECT CAST(NULL AS {empty}) WHERE 1 != 1)"
                try:
                    await connection.prepare(sql)
                    found[empty, name] = True
                except asyncpg.PostgresError:
                    found[empty, name] = False
        await connection.close()
        return found

    return asyncio.run(main())


OTHERS = ("xml", "json", "jsonb", "inet", "cidr", "macaddr", "money", "tsvector", "point", "xid")


@pytest.mark.postgres
def test_the_table_of_comparable_types_is_that_of_the_server(
    operators: dict[tuple[str, str], bool],
) -> None:
    differences = {
        pair: is_comparable
        for pair, is_comparable in operators.items()
        if is_comparable != (pair[1] in COMPARABLE[pair[0]])
    }
    assert differences == {}


APP = """
from sqla_typedpool import Executor, query

@query("SELECT id FROM users WHERE id IN :ids")
async def some(db: Executor, ids: list[int]) -> list[int]:
    raise NotImplementedError

@query("SELECT name FROM users WHERE id IN :ids")
async def names(db: Executor, ids: list[str]) -> list[str]:
    raise NotImplementedError

@query("SELECT nick FROM users WHERE nick NOT IN :nicks")
async def nicks(db: Executor, nicks: list[str]) -> list[str]:
    raise NotImplementedError

@query("SELECT id IN :ids FROM users")
async def members(db: Executor, ids: list[int | None]) -> list[bool]:
    raise NotImplementedError
"""


@pytest.mark.postgres
def test_lists_are_checked_on_a_server_and_from_snapshots(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.url("asyncpg", "listed")

    async def create() -> None:
        connection = await asyncpg.connect(postgres.url("asyncpg").replace("+asyncpg", ""))
        await connection.execute("DROP DATABASE IF EXISTS listed")
        await connection.execute("CREATE DATABASE listed")
        await connection.close()
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        await connection.execute(
            "CREATE TABLE users (id int NOT NULL, name text NOT NULL, nick text)"
        )
        await connection.close()

    asyncio.run(create())
    (tmp_path / "app.py").write_text(APP)
    expected = {
        ("app.some", "TP205"),
        ("app.names", "TP201"),
        ("app.names", "TP205"),
        ("app.nicks", "TP205"),
        ("app.nicks", "TP101"),
        ("app.members", "TP101"),
        ("app.members", "TP203"),
        ("app.members", "TP205"),
    }
    assert command(tmp_path, "prepare", "app", "--database-url", url).returncode == 0
    for options in (["--database-url", url], []):
        answer = command(tmp_path, "check", "app", "--format", "json", *options)
        assert answer.returncode == 1
        findings = json.loads(answer.stdout)["findings"]
        assert {(each["query"], each["code"]) for each in findings} == expected
    shown = command(
        tmp_path, "describe", "SELECT id FROM users WHERE id IN :ids", "--database-url", url
    )
    assert shown.returncode == 0, shown.stderr
    assert "list" in shown.stdout
