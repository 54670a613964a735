"""Statements are compiled for the checker, without a database and without values."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Enum,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
    bindparam,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import CreateTable

from sqla_typedpool._sqlalchemy.compiling import compile_statement

NUMERIC_OID = 1700


class Colour(enum.Enum):
    RED = 1


things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String),
    Column("colour", Enum(Colour)),
    Column("data", JSON),
    Column("price", Numeric),
)


@pytest.mark.parametrize(
    ("family", "sql", "names"),
    [
        ("postgresql", "SELECT $1, $2, $1, '10%', x::int", ["a", "b"]),
        ("sqlite", "SELECT ?, ?, ?, '10%', x::int", ["a", "b", "a"]),
        ("mysql", "SELECT %s, %s, %s, '10%%', x::int", ["a", "b", "a"]),
    ],
)
def test_text_is_compiled_with_the_placeholders_of_its_database(
    family: str, sql: str, names: list[str]
) -> None:
    compiled = compile_statement(text("SELECT :a, :b, :a, '10%', x::int"), family)
    assert compiled.sql == sql
    assert [each.name for each in compiled.placeholders] == names
    assert all(each.is_required and not each.is_processed for each in compiled.placeholders)
    assert compiled.is_text
    assert compiled.columns == ()


def test_a_list_parameter_is_compiled_as_a_list_of_one() -> None:
    statement = text("SELECT 1 WHERE x IN :ids").bindparams(bindparam("ids", expanding=True))
    compiled = compile_statement(statement, "postgresql")
    assert compiled.sql == "SELECT 1 WHERE x IN ($1)"
    (placeholder,) = compiled.placeholders
    assert placeholder.name == "ids"
    assert placeholder.is_expanding


def test_a_value_inside_a_core_statement_is_not_a_required_parameter() -> None:
    statement = select(things.c.id).where(things.c.id > 5, things.c.name == bindparam("name"))
    by_name = {each.name: each for each in compile_statement(statement, "postgresql").placeholders}
    assert by_name["name"].is_required
    assert not by_name["id_1"].is_required


def test_the_keys_decide_which_columns_an_insert_sets() -> None:
    compiled = compile_statement(insert(things), "postgresql", ["name", "id"])
    assert compiled.sql.startswith("INSERT INTO things (id, name) VALUES")
    assert {each.name for each in compiled.placeholders} == {"id", "name"}


def test_the_keys_decide_which_columns_an_update_sets() -> None:
    statement = update(things).where(things.c.id == bindparam("the_id"))
    compiled = compile_statement(statement, "postgresql", ["name", "the_id"])
    assert "SET name=" in compiled.sql
    assert "price" not in compiled.sql


@pytest.mark.parametrize(
    ("family", "code", "expected"),
    [
        ("postgresql", NUMERIC_OID, {"colour"}),  # asyncpg decodes JSON and numbers
        ("sqlite", None, {"colour", "data", "price"}),
    ],
)
def test_conversions_by_sqlalchemy_are_reported_for_columns_and_parameters(
    family: str, code: int | None, expected: set[str]
) -> None:
    statement = select(things).where(things.c.colour == bindparam("colour"))
    compiled = compile_statement(statement, family)
    assert [each.is_processed for each in compiled.placeholders] == [True]
    processed = {each.name for each in compiled.columns if each.is_processed(code)}
    assert processed == expected
    assert [each.name for each in compiled.columns if each.is_json] == ["data"]


def test_ddl_is_refused_and_the_error_names_it() -> None:
    with pytest.raises(CompileError, match="CreateTable"):
        compile_statement(CreateTable(things), "postgresql")  # type: ignore[arg-type]


def test_values_inside_a_statement_are_never_null_unless_they_or_their_type_may_be_none() -> None:
    class Own(TypeDecorator[str]):
        impl = String
        cache_ok = True

        def process_bind_param(self, value: Any, dialect: Any) -> Any:
            return value or None

    values = {
        "there": bindparam("there", "x", String),
        "none": bindparam("none", None, String),
        "of_own_type": bindparam("of_own_type", "x", Own),
        "of_json": bindparam("of_json", {}, JSON),
        "asked_later": bindparam("asked_later", callable_=lambda: None, type_=String),
        "given": bindparam("given", "x", String),
        "required": bindparam("required", type_=String),
    }
    statement = select(*values.values()).where(
        things.c.id.in_([1, 2]), things.c.name.in_(["a", None]), things.c.price > 1
    )
    compiled = compile_statement(statement, "postgresql", ["given", "required"])
    assert compiled.never_null == {"there", "id_1", "price_1"}


@pytest.mark.parametrize("kind", [postgresql.INT4RANGE, postgresql.INT4MULTIRANGE, postgresql.BIT])
def test_a_value_of_a_type_that_needs_the_driver_is_compiled(kind: Any) -> None:
    (placeholder,) = compile_statement(
        select(bindparam("a", type_=kind())), "postgresql"
    ).placeholders
    assert placeholder.none_is_null


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
def test_an_insert_returns_only_the_columns_that_it_declares(family: str) -> None:
    for values in ({}, {"name": "a"}):
        compiled = compile_statement(insert(things).values(values), family)
        assert "RETURNING" not in compiled.sql
        assert compiled.columns == ()
    declared = insert(things).values(name="a").returning(things.c.name)
    if family != "mysql":
        assert [each.name for each in compile_statement(declared, family).columns] == ["name"]


# ------------------------------------------------------------------------ NULL

logged = Table(
    "logged",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("made", String, default=lambda: "now"),
    Column("kind", String, default="a"),
    Column("changed", String, onupdate=lambda: "now"),
    Column("note", String),
    Column("data", JSON),
    Column("strict", JSON(none_as_null=True)),
)


def nulls(statement: Any, family: str = "postgresql") -> dict[str, str]:
    """Return what is known about the None of each value."""
    placeholders = compile_statement(statement, family).placeholders
    return {
        each.name: " ".join(
            name for name in ("none_is_null", "is_none", "is_computed") if getattr(each, name)
        )
        for each in placeholders
    }


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
def test_a_none_in_a_statement_is_known_and_a_default_is_computed(family: str) -> None:
    assert nulls(insert(logged).values(note=None, id=1), family) == {
        "id": "none_is_null",
        "made": "none_is_null is_computed",
        "kind": "none_is_null is_computed",
        "note": "none_is_null is_none",
    }
    assert nulls(update(logged).values(note=None), family) == {
        "note": "none_is_null is_none",
        "changed": "none_is_null is_computed",
    }


def test_each_row_has_its_defaults() -> None:
    rows: list[dict[str, Any]] = [{"note": None}, {"note": "a"}]
    found = nulls(insert(logged).values(rows))
    assert found["note_m0"] == "none_is_null is_none"
    assert found["note_m1"] == "none_is_null"
    assert [found[name] for name in ("made", "made_m1", "kind_m1")] == [
        "none_is_null is_computed"
    ] * 3


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
def test_the_none_of_json_is_null_only_if_the_column_is_declared_so(family: str) -> None:
    found = nulls(update(logged).values(data=None, strict=None, changed="a"), family)
    assert found == {
        "changed": "none_is_null",
        "data": "is_none",
        "strict": "none_is_null is_none",
    }


def test_the_none_of_a_type_of_the_application_is_not_known() -> None:
    class Trimmed(TypeDecorator[str]):
        impl = String
        cache_ok = True

        def process_bind_param(self, value: Any, dialect: Any) -> str:
            raise AssertionError("it is not called")

    assert nulls(select(bindparam("a", None, type_=Trimmed()))) == {"a": "is_none"}


def test_a_value_that_a_function_computes_is_not_known() -> None:
    assert nulls(select(bindparam("a", callable_=lambda: None, type_=String))) == {
        "a": "none_is_null is_computed"
    }
