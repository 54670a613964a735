"""The rules of inference: how they are looked up, and what a scope keeps."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.describe import describe
from sqla_typedpool.describe.model import ColumnDescription
from sqla_typedpool.describe.nullability import never
from sqla_typedpool.describe.postgres.catalog import Catalog
from sqla_typedpool.describe.postgres.inference import RULES
from sqla_typedpool.describe.postgres.nodes import Node, parse_nodes
from sqla_typedpool.describe.postgres.outputs import infer_statement
from sqla_typedpool.describe.postgres.predicates import ColumnRef
from sqla_typedpool.describe.postgres.scope import Inference, Rule, Scope
from sqla_typedpool.embedded import Postgres

NO_SESSION: Any = None  # nothing is fetched


def inference(**rules: Rule) -> Inference:
    return Inference(Catalog(NO_SESSION), rules or RULES, parameters=(), never_null=frozenset())


def select(*expressions: str) -> Node:
    """The analysed tree of a SELECT without FROM."""
    entries = " ".join(
        f"{{TARGETENTRY :expr {expression} :resno {number} :resjunk false}}"
        for number, expression in enumerate(expressions, 1)
    )
    tree: Node = parse_nodes(f"{{QUERY :commandType 1 :targetList ({entries})}}")
    return tree


def test_a_node_is_inferred_by_the_rule_for_its_kind() -> None:
    rules: dict[str, Rule] = {"X": lambda node, scope: never(f"x is {node.value}")}
    assert infer_statement(inference(**rules), select("{X :value 7}")) == [never("x is 7")]


def test_a_kind_without_a_rule_may_be_null() -> None:
    (answer,) = infer_statement(inference(), select("{KINDOFTHEFUTURE :arg 1}"))
    assert (answer.nullable, answer.reason) == (True, "nothing is known about this expression")


def test_a_constant_is_null_only_if_it_is_null() -> None:
    query = select("{CONST :constisnull true}", "{CONST :constisnull false}", "<>")
    assert [each.nullable for each in infer_statement(inference(), query)] == [True, False, True]


def test_a_scope_at_a_join_differs_only_in_the_join() -> None:
    query = select()
    outer, compared = Scope(inference(), query), Scope(inference(), query)
    guards = frozenset({ColumnRef(0, 1, 2)})
    scope = Scope(outer.inference, query, outer, True, 1, compared, True, guards)
    at_join = scope.at_join(3)
    different = {
        each.name
        for each in fields(Scope)
        if getattr(at_join, each.name) != getattr(scope, each.name)
    }
    assert (different, at_join.within_join) == ({"within_join"}, 3)


@pytest.mark.postgres
def test_a_condition_of_case_counts_for_a_merged_column_of_a_join(server: Postgres) -> None:
    both, one, none = columns_of(
        server,
        "SELECT CASE WHEN a.x IS NOT NULL AND b.x IS NOT NULL THEN x ELSE 0 END,"
        " CASE WHEN a.y > 0 THEN x ELSE 0 END, x FROM a FULL JOIN b USING (x)",
    )
    assert not both.nullable
    assert (one.nullable, none.nullable) == (True, True)


@pytest.mark.postgres
def test_a_condition_of_case_does_not_count_for_a_join_that_is_missing(server: Postgres) -> None:
    guarded, unguarded = columns_of(
        server,
        "SELECT CASE WHEN c.y > 0 THEN x ELSE 0 END, x"
        " FROM (SELECT 1 AS y) AS c LEFT JOIN (a FULL JOIN b USING (x)) ON a.y = c.y",
    )
    assert guarded.nullable
    assert unguarded.nullable


def columns_of(server: Postgres, sql: str) -> tuple[ColumnDescription, ...]:
    """Describe a query on the temporary tables ``a(x, y)`` and ``b(x, y)``."""

    async def main() -> tuple[ColumnDescription, ...]:
        engine = create_async_engine(server.url("asyncpg"))
        try:
            async with engine.connect() as connection:
                for table in ("a", "b"):
                    columns = "x int, y int NOT NULL"
                    await connection.execute(text(f"CREATE TEMP TABLE {table} ({columns})"))
                return (await describe(connection, sql)).columns
        finally:
            await engine.dispose()

    return asyncio.run(main())
