"""The fields of composite values that may be NULL."""

from __future__ import annotations

from typing import Any

from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.scope import Inference, Scope
from sqla_typedpool.mapping.dbtypes import DbType


def nullable_fields(
    expression: Any, db_type: DbType, query: Node | None, inference: Inference
) -> tuple[str, ...]:
    """Return the fields of a column that may be NULL in a value that is not NULL.

    These are all fields, except in a row of a table, and in ``ROW(a, b)``: a composite type cannot
    declare its fields NOT NULL.

    :param expression: what the query selects; None = unknown.
    """
    names = [name for name, _ in db_type.fields]
    if expression is None or query is None:
        return tuple(names)
    while expression.kind == "RELABELTYPE":
        expression = expression.arg
    scope = Scope(inference, query)
    if expression.kind == "ROWEXPR":
        parts = expression.nodes("args")
        if len(parts) == len(names):
            found = zip(names, scope.infer_all(parts), strict=True)
            return tuple(name for name, part in found if part.nullable)
    known = _of_table(expression, scope)
    return tuple(name for name in names if name not in known)


def _of_table(expression: Node, scope: Scope) -> frozenset[str]:
    """Return the columns that are NOT NULL in a row of a table: ``SELECT t FROM t``."""
    is_row = expression.kind == "VAR" and not expression.number("varattno")
    if not is_row or expression.number("varlevelsup"):
        return frozenset()
    entry = scope.entry(expression.number("varno"))
    relation = scope.relation(entry)
    if relation is None or not relation.is_stored:
        return frozenset()
    columns = relation.columns.values()
    return frozenset(each.name for each in columns if each.not_null and not each.is_virtual)
