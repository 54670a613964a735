"""Infer the Python types of SQLite's values, where SQLite enforces them.

These are the columns of STRICT tables, the rowid, some functions, and CAST. A value of any other
expression can have any type.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from sqla_typedpool.describe.sqlite.aggregates import is_count
from sqla_typedpool.describe.sqlite.expressions import NUMBERS, SelectScope

# The types of STRICT tables. ANY is not listed.
STRICT_TYPES: dict[str, type] = {
    "INT": int,
    "INTEGER": int,
    "REAL": float,
    "TEXT": str,
    "BLOB": bytes,
}
# The names of these types in a description.
TYPE_NAMES = {int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB"}

# The names of sqlglot's types. It has one name for TEXT and STRING, of which SQLite makes a number.
_CAST_TYPES = {"INT": int, "DOUBLE": float, "FLOAT": float}


def type_of(node: Any, scope: SelectScope) -> type | None:
    """Return the Python type of each value of an expression that is not NULL.

    :return: None if the values can have several types.
    """
    if is_count(node) or isinstance(node, NUMBERS):
        return int
    if isinstance(node, (exp.Paren, exp.Filter, exp.Window, exp.Max, exp.Min)):
        # MAX and MIN of several values in one row can be of any of them
        return None if node.expressions else type_of(node.this, scope)
    if isinstance(node, exp.Sum):
        summed = type_of(node.this, scope)
        return summed if summed in (int, float) else None
    if isinstance(node, exp.Avg) or (isinstance(node, exp.Anonymous) and _is_total(node)):
        return float
    if isinstance(node, exp.Cast):
        return _CAST_TYPES.get(node.to.this.name)
    return _type_of_column(node, scope) if isinstance(node, exp.Column) else None


def _is_total(node: exp.Anonymous) -> bool:
    return node.name.lower() == "total"


def _type_of_column(node: exp.Column, scope: SelectScope) -> type | None:
    name, table = node.name.lower(), node.table.lower()
    if node.this.args.get("quoted") and not table:
        return None  # in SQLite it may be a string
    found = {
        column.python
        for item in scope.items
        if table in ("", item.alias)
        for column in item.columns
        if column.name.lower() == name
    }
    return found.pop() if len(found) == 1 else None
