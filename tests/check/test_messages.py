"""The words of findings, compared with reviewed ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal

import asyncpg
import psycopg.types.range as psycopg_range
import sqlalchemy as sa

from sqla_typedpool import RowCount
from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.parameters import compare_parameters
from sqla_typedpool.describe.postgres.driver_types import delivered_by, of_extension
from sqla_typedpool.describe.writes import ColumnWrite, ValueSource, WriteAction
from sqla_typedpool.errors import Refused
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type, sqlite_type
from tests.support.check_lab import declare, described, maybe, never, refused, takes, written

GOLDEN = Path(__file__).parent / "golden" / "messages.txt"


@dataclass
class Pair:
    x: int
    y: str | None


class Money(sa.types.TypeDecorator[str]):
    """A type of the application."""

    impl = sa.Numeric
    cache_ok = True

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return f"{value} EUR"


@dataclass
class Couple:
    x: int


def _types() -> Iterator[Finding]:
    """Yield the findings about types that were not compared, or differ between drivers."""
    psycopg = {"usual": (str,), "driver": "psycopg"}
    enum = postgresql_type("mood", labels=("a",))
    mood = DbType("mood[]", element=enum, **psycopg)
    point = DbType("pair", fields=(("x", postgresql_type("int4")),), **psycopg)
    number = DbType("int4[]", element=postgresql_type("int4"), **psycopg)
    int4range = postgresql_type("int4range")
    kinds: list[tuple[DbType, Any]] = [
        *((postgresql_type("inet"), IPv4Address), (postgresql_type("inet"), str)),
        *((postgresql_type("inet"), int), (postgresql_type("cidr[]"), list[str])),
        *((of_extension("asyncpg", "hstore"), dict[str, str]), (mood, list[str])),
        *((of_extension("psycopg", "geometry"), bytes), (postgresql_type("record"), tuple[int])),
        *((delivered_by("asyncpg", postgresql_type("char")), str), (DbType("span"), str)),
        (delivered_by("psycopg", postgresql_type("xid")), int),
        *((point, Couple), (DbType("pair[]", element=point, **psycopg), list[Couple])),
        *((number, list[int]), (DbType("span", **psycopg), psycopg_range.Range)),
        (delivered_by("psycopg", int4range), asyncpg.Range),
        (delivered_by("asyncpg", int4range), psycopg_range.Range),
    ]
    for kind, returns in kinds:
        yield from compare(
            declare("SELECT a FROM t", list[tuple[returns]]), described(never("a", kind))
        )


def _families() -> Iterator[Finding]:
    """Yield the notes that SQLite and Core statements have once for all columns."""
    columns = [never(name, sqlite_type("INTEGER")) for name in "abcdefgh"]
    query = declare("SELECT a, b FROM t", list[tuple[int, int]])
    yield from compare(query, described(*columns[:2], family="sqlite"))
    names = ", ".join(each.name for each in columns)
    query = declare(f"SELECT {names} FROM t", list[tuple[int, ...]])
    yield from compare(query, described(*columns, family="sqlite"))
    core = declare(sa.select(sa.column("a", Money())), list[str])
    yield from compare(core, described(never("a", DbType("numeric"))))
    own = declare(sa.select(sa.column("a", sa.Integer)), list[int])
    yield from compare(own, described(columns[0], family="sqlite"))


def _rows() -> Iterator[Finding]:
    """Yield the findings about statements with and without rows."""
    notify = "SELECT pg_notify('a', 'b')"
    yield from compare(declare(notify, RowCount), described(maybe("pg_notify", DbType("void"))))
    yield from compare(declare("CALL work()", int), described())
    yield from compare(declare("SELECT 1 AS a", None), described(never("a", "int4")))


def _nulls() -> Iterator[Finding]:
    """Yield the findings about values that are not NULL, and may be None or contain NULL."""
    column = replace(never("a", "text"), converted_by="Money.process_result_value()")
    yield from compare(declare("SELECT a FROM t", list[str]), described(column))
    pair = DbType("pair", fields=(("x", postgresql_type("int4")), ("y", postgresql_type("text"))))
    column = replace(never("at", pair), nullable_fields=("x", "y"))
    yield from compare(declare("SELECT at FROM t", list[tuple[Pair]]), described(column))


def _refused() -> Iterator[Finding]:
    """Yield the findings about statements that PostgreSQL refuses, or cannot infer."""
    unknown = Refused("could not determine data type of parameter $1", code="42P18")
    for returns in (int, list[int], list[list[int]], object):
        yield refused(declare("SELECT :a IS NULL", bool, a=returns), unknown)
    takes_unknown = declare("SELECT :a", list[str], a=list[int])
    yield from compare(takes_unknown, described(never("a", "text"), takes("a", None)))
    own = sa.text("SELECT 1 AS a WHERE 1 IN :ids")
    yield refused(declare(own, int, ids=list[int]), Refused("syntax"))


def _lists() -> Iterator[Finding]:
    """Yield the findings about lists after IN."""
    mood = postgresql_type("mood", labels=("a",))
    for sql in ("SELECT a FROM t WHERE a IN :x", "SELECT a FROM t WHERE a NOT IN :x"):
        for annotation, kind in ((list[int | None], "int8"), (list[str] | None, mood)):
            query = declare(sql, None, x=annotation)
            yield from compare_parameters(query, described(takes("x", kind, is_list=True)))
    for family, kind in (("postgresql", "int8"), ("sqlite", None), ("mysql", None)):
        query = declare("SELECT a FROM t WHERE a IN (:x)", None, x=list[int])
        yield from compare_parameters(query, described(takes("x", kind), family=family))


def _writes() -> Iterator[Finding]:
    """Yield the findings about values that a column does not accept."""
    sql = "INSERT INTO users (name) VALUES (:x)"
    parameter, expression = ValueSource.PARAMETER, ValueSource.EXPRESSION
    in_update = {"action": WriteAction.UPDATE}
    in_conflict = {"action": WriteAction.CONFLICT_UPDATE}
    wider: dict[str, Any] = {"not_null": False, "accepted": ("a", "b")}
    shorter: dict[str, Any] = {"not_null": False, "max_length": 1}
    cases: list[tuple[Any, list[ColumnWrite]]] = [
        (str, [written("mail", ValueSource.OMITTED)]),
        (str, [written(name, ValueSource.OMITTED) for name in ("mail", "born", "team_id")]),
        (str, [written("name", ValueSource.NULL, **in_update)]),
        (str, [written("name", ValueSource.DEFAULT)]),
        (str | None, [written("name", parameter, "x")]),
        (str | None, [written(name, parameter, "x") for name in ("name", "mail")]),
        (str | None, [written("name", parameter, "x", **in_update)]),
        (str | None, [written("name", parameter, "x", **in_conflict)]),
        (object, [written("name", parameter, "x")]),
        (str, [written("name", expression, why="o.name may be NULL")]),
        (str, [written("name", parameter, "x", **wider)]),
        (Literal["a", "c", "d"], [written("name", parameter, "x", **wider)]),
        (Literal["a", "ab"], [written("name", parameter, "x", **shorter)]),
    ]
    for annotation, writes in cases:
        query = declare(sql, None, x=annotation)
        yield from compare(query, described(takes("x", "text"), *writes))
    core = sa.insert(sa.table("users", sa.column("name", sa.Text))).values(name=sa.bindparam("x"))
    yield from compare(
        declare(core, None, x=str | None), described(written("name", parameter, "x"))
    )


def _lines(found: Finding) -> Iterator[str]:
    yield f"{found.severity.value}[{found.code}] {found.message}"
    for label, text in (("because", found.reason), ("next", found.hint)):
        if text:
            yield f"   = {label}: {text}"


def test_the_messages_are_the_reviewed_ones() -> None:
    parts = (_types(), _families(), _rows(), _nulls(), _refused(), _lists(), _writes())
    shown = "\n".join(line for part in parts for found in part for line in _lines(found))
    assert shown + "\n" == GOLDEN.read_text(encoding="utf-8"), (
        "review it, and write it to tests/check/golden/messages.txt"
    )
