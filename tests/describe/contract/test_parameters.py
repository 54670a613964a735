"""The parameters of a described statement, on every database."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
from sqlalchemy import text

from sqla_typedpool.check import Description
from tests.describe.databases import Database, nullability

U = sa.table("u", sa.column("id", sa.BigInteger), sa.column("name", sa.String))


def described(database: Database, statement: Any, **options: Any) -> Description:
    return asyncio.run(database.describe(statement, **options))


def names(description: Description) -> list[str]:
    return [parameter.name for parameter in description.parameters]


def test_parameters_have_their_names_in_the_order_of_the_statement(database: Database) -> None:
    sql = "SELECT id FROM u WHERE id > :low AND name = :name AND id < :high"
    assert names(described(database, sql)) == ["low", "name", "high"]


def test_a_repeated_parameter_is_described_once(database: Database) -> None:
    sql = "SELECT id FROM u WHERE id > :low AND name = :name AND id <> :low"
    assert names(described(database, sql)) == ["low", "name"]


def test_a_parameter_has_a_type_where_the_database_reports_it(database: Database) -> None:
    (parameter,) = described(database, "SELECT name FROM u WHERE id = :id").parameters
    assert parameter.type == ("int8" if database.family == "postgresql" else None)
    assert not parameter.is_list


def test_an_expanding_parameter_is_a_list(database: Database) -> None:
    statement = text("SELECT id FROM u WHERE id IN :ids").bindparams(
        sa.bindparam("ids", expanding=True)
    )
    (parameter,) = described(database, statement).parameters
    assert (parameter.name, parameter.is_list) == ("ids", True)


def test_an_expanding_parameter_of_a_core_statement_is_a_list(database: Database) -> None:
    statement = sa.select(U.c.id).where(U.c.id.in_(sa.bindparam("ids", expanding=True)))
    (parameter,) = described(database, statement).parameters
    assert (parameter.name, parameter.is_list) == ("ids", True)


def test_a_value_inside_a_core_statement_is_not_a_parameter(database: Database) -> None:
    statement = sa.select(U.c.id).where(U.c.name == "a", U.c.id > sa.bindparam("low"))
    assert names(described(database, statement)) == ["low"]


def test_the_keys_decide_which_columns_a_bare_insert_sets(database: Database) -> None:
    found = described(database, sa.insert(U), keys=["id", "name"])
    assert names(found) == ["id", "name"]
    assert found.columns == ()
    assert names(described(database, sa.insert(U), keys=["name"])) == ["name"]


def test_a_parameter_may_be_null_unless_it_is_never_none(database: Database) -> None:
    sql = "SELECT CAST(:a AS int) AS a, CAST(:b AS int) AS b"
    if database.family == "sqlite":
        sql = "SELECT :a AS a, :b AS b"
    assert nullability(described(database, sql)) == "11"
    found = described(database, sql, never_null=["a", "b"])
    # the flags of MariaDB do not depend on the values
    assert nullability(found) == ("11" if database.family == "mysql" else "00")
