"""What a statement becomes for a driver: its SQL, its arguments, and whether it is sent directly.

No database: the statements are only compiled.
"""

from __future__ import annotations

import enum
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Enum,
    FetchedValue,
    Integer,
    MetaData,
    Numeric,
    Sequence,
    Table,
    Text,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateTable

from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement, compile_for_driver
from sqla_typedpool.statement import StatementCache

if TYPE_CHECKING:
    from sqlalchemy import Engine

URLS = {
    "asyncpg": "postgresql+asyncpg://",
    "psycopg": "postgresql+psycopg://",
    "aiosqlite": "sqlite+aiosqlite://",
    "asyncmy": "mysql+asyncmy://",
}
by_driver = pytest.mark.parametrize("driver", URLS)


class Colour(enum.Enum):
    RED = "r"


things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("colour", Enum(Colour)),
    Column("price", Numeric),
    Column("data", JSON),
    Column("made", Text, server_default=FetchedValue()),
)


def engine_of(driver: str) -> Engine:
    pytest.importorskip(driver)
    return create_async_engine(URLS[driver]).sync_engine


def compiled(
    driver: str, statement: Any, keys: tuple[str, ...] = (), *, describes_first: bool = True
) -> DriverStatement | None:
    return compile_for_driver(engine_of(driver), statement, keys, describes_first=describes_first)


def found(driver: str, statement: Any, keys: tuple[str, ...] = ()) -> DriverStatement:
    result = compiled(driver, statement, keys)
    assert result is not None
    return result


def given(arguments: Any) -> list[Any]:
    """The values of a tuple or a dict of arguments."""
    return list(arguments.values() if isinstance(arguments, dict) else arguments)


# ------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("driver", "sql", "arguments"),
    [
        ("asyncpg", "SELECT $1, $2, $1", (1, "x")),
        ("psycopg", "SELECT %(a)s, %(b)s, %(a)s", {"a": 1, "b": "x"}),
        ("aiosqlite", "SELECT ?, ?, ?", (1, "x", 1)),
        ("asyncmy", "SELECT %s, %s, %s", (1, "x", 1)),
    ],
)
def test_arguments_of_text_are_in_the_order_or_by_the_names_of_its_placeholders(
    driver: str, sql: str, arguments: Any
) -> None:
    statement = found(driver, text("SELECT :a, :b, :a"))
    assert statement.sql == sql
    assert statement.arguments({"b": "x", "a": 1, "more": 2}) == arguments


@by_driver
def test_arguments_without_parameters_are_empty(driver: str) -> None:
    statement = found(driver, text("SELECT 1"))
    assert len(statement.arguments(None)) == len(statement.arguments({"more": 2})) == 0


@by_driver
@pytest.mark.parametrize("parameters", [None, {}, {"b": 1}])
def test_a_missing_parameter_is_an_error(driver: str, parameters: Any) -> None:
    statement = found(driver, text("SELECT :a"))
    with pytest.raises((KeyError, TypeError, AttributeError)):
        statement.arguments(parameters)
    typed = found(driver, select(bindparam("a", type_=Enum(Colour), required=True)))
    with pytest.raises(Exception, match="required for bind parameter 'a'"):
        typed.arguments(parameters)


@by_driver
def test_the_values_that_a_statement_contains_are_its_own_not_those_of_an_equal_one(
    driver: str,
) -> None:
    engine = engine_of(driver)
    for value in (1, 2, 1):
        statement = compile_for_driver(
            engine, select(things.c.id).where(things.c.id == value), (), describes_first=True
        )
        assert statement is not None
        arguments = statement.arguments(None)
        assert given(arguments) == [value]


@by_driver
def test_values_are_converted_by_their_types(driver: str) -> None:
    statement = found(driver, text("SELECT :a, :a").bindparams(bindparam("a", type_=Enum(Colour))))
    arguments = statement.arguments({"a": Colour.RED})
    assert set(given(arguments)) == {"RED"}
    with pytest.raises(LookupError):
        statement.arguments({"a": 5})


@by_driver
@pytest.mark.parametrize(
    "make",
    [
        lambda bind: select(things.c.id).where(things.c.id == bind),
        lambda bind: text("SELECT :n").bindparams(bind),
    ],
    ids=["SELECT", "text"],
)
def test_the_function_of_a_callable_bind_is_called_for_each_call(driver: str, make: Any) -> None:
    values = iter([1, 2])
    statement = found(driver, make(bindparam("n", callable_=lambda: next(values))))
    for expected in (1, 2):
        assert given(statement.arguments(None)) == [expected]


@by_driver
def test_a_default_value_of_text_can_be_replaced(driver: str) -> None:
    statement = found(driver, text("SELECT :a").bindparams(a=1))
    for parameters, expected in ((None, 1), ({}, 1), ({"a": 2}, 2)):
        arguments = statement.arguments(parameters)
        assert given(arguments) == [expected]


@pytest.mark.parametrize(
    ("driver", "key"),
    [("asyncpg", None), ("psycopg", "aCb_c_P"), ("aiosqlite", None), ("asyncmy", None)],
)
def test_names_that_sql_cannot_contain_are_escaped(driver: str, key: str | None) -> None:
    bind = bindparam("a:b.c %", type_=Integer, required=True)
    for statement in (select(things.c.id).where(things.c.id == bind), select(bind)):
        arguments = found(driver, statement).arguments({"a:b.c %": 7})
        assert arguments == ((7,) if key is None else {key: 7})


@by_driver
def test_an_insert_has_the_columns_of_its_parameters(driver: str) -> None:
    statement = found(driver, insert(things), ("name", "id"))
    assert "made" not in statement.sql.partition("RETURNING")[0]
    arguments = statement.arguments({"name": "x", "id": 1})
    assert given(arguments) == [1, "x"]


# ------------------------------------------------------------- what is sent directly

defaults = Table(
    "things", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer, default=1)
)
updated = Table(
    "things", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer, onupdate=1)
)
NOT_ONE_PLAIN_STRING: dict[str, Any] = {
    "expanding IN": select(things.c.id).where(things.c.id.in_([1, 2])),
    "expanding IN in text": text("SELECT :a").bindparams(bindparam("a", expanding=True)),
    "a literal at execution": select(literal("x", literal_execute=True)),
    "a default in Python": insert(defaults).values(id=1),
    "a default of several rows": insert(defaults).values([{"id": 1}, {"id": 2}]),
    "an onupdate in Python": update(updated).where(updated.c.id == 1).values(id=2),
    "text with columns": text("SELECT 1 AS a").columns(a=Integer),
    "text with ordered columns": text("SELECT 1").columns(column("a", Integer)),
    "text in the list of a SELECT": select(text("1, 2")),
    "DDL": CreateTable(things),
    "a function": func.now(),
    "a sequence": Sequence("s"),
    "options": text("SELECT 1").execution_options(mine=1),
    "a clause": things.c.id == 1,
    "a str": "SELECT 1",
    "a number": 1,
}


@by_driver
@pytest.mark.parametrize("what", NOT_ONE_PLAIN_STRING)
def test_what_is_not_sent_as_one_plain_string_is_left_to_sqlalchemy(driver: str, what: str) -> None:
    assert compiled(driver, NOT_ONE_PLAIN_STRING[what]) is None


LITERAL = select(literal_column("1", Integer).label("a"), literal_column("x.*"))
FITS: dict[str, tuple[Any, bool, bool, bool]] = {
    # statement; fetch on a driver that describes first, on one that does not; execute
    "text": (text("SELECT 1"), True, True, True),
    "text with RETURNING": (text("DELETE FROM things returning id"), True, True, False),
    "a word that contains it": (text("SELECT returning_at FROM things"), True, True, True),
    "SELECT": (select(things), True, True, True),
    "a literal star": (LITERAL, True, False, True),
    "DELETE": (delete(things), True, True, True),
    "RETURNING": (delete(things).returning(things.c.id), True, True, False),
    "RETURNING a converted value": (
        delete(things).returning(things.c.colour),
        *(True, False, False),
    ),
    "RETURNING a Numeric": (delete(things).returning(things.c.price), True, False, False),
    "a SELECT of converted values": (select(things.c.colour, things.c.price), True, True, True),
    "implicit RETURNING": (insert(things).values(name="x"), False, False, True),
    "implicit RETURNING of a converted value": (
        insert(
            Table(
                "things",
                MetaData(),
                Column("id", Integer, primary_key=True),
                Column("colour", Enum(Colour), server_default=FetchedValue()),
            )
        )
        .values(id=1)
        .return_defaults(),
        *(False, False, False),
    ),
}


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("what", FITS)
def test_which_calls_may_send_a_statement_directly(driver: str, what: str) -> None:
    statement, described, undescribed, executed = FITS[what]
    for describes_first, fetched in ((True, described), (False, undescribed)):
        result = compiled(driver, statement, describes_first=describes_first)
        assert result is not None
        assert (result.may_fetch, result.may_execute) == (fetched, executed), describes_first


# ---------------------------------------------------------------------------- caches


def cache_of(engine: Engine) -> StatementCache:
    return StatementCache(
        lambda statement, keys: compile_for_driver(engine, statement, keys, describes_first=True)
    )


def test_a_statement_is_compiled_once_for_each_set_of_keys() -> None:
    cache, statement = cache_of(engine_of("asyncpg")), insert(things)
    first = cache.get(statement, {"name": "x"})
    assert cache.get(statement, {"name": "y"}) is first
    assert cache.get(statement, {"id": 1, "name": "y"}) is not first
    assert cache.get("SELECT :a", {"a": 1}) is cache.get("SELECT :a", None)


def test_a_statement_is_not_kept_alive_and_its_mappers_are_those_of_equal_ones() -> None:
    cache = cache_of(engine_of("asyncpg"))
    # SQLAlchemy's cache of compiled statements keeps the first of all equal ones
    cache.get(select(things.c.id).where(things.c.id == 0), None)
    statement = select(things.c.id).where(things.c.id == 1)
    mappers = cache.get(statement, None).mappers  # type: ignore[union-attr]
    reference = weakref.ref(statement)
    del statement
    gc.collect()
    assert reference() is None
    again = select(things.c.id).where(things.c.id == 2)
    assert cache.get(again, None).mappers is mappers  # type: ignore[union-attr]
    assert cache.get(select(things.c.name), None).mappers is not mappers  # type: ignore[union-attr]


def test_the_mappers_of_a_statement_are_those_of_at_most_100_row_types() -> None:
    mappers = found("asyncpg", text("SELECT 1")).mappers
    for number in range(250):
        mappers[number]["columns"] = number
        assert mappers[number] == {"columns": number}
        assert len(mappers) <= 100
