"""Compare whether a statement returns rows with whether its function does."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqla_typedpool.check import rules
from sqla_typedpool.check.locations import location_of_output, location_of_query
from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.rules import finding
from sqla_typedpool.describe.model import Description
from sqla_typedpool.queries import Cardinality, QueryInfo
from sqla_typedpool.tokens import has_returning, statement_keyword

# The result type of a PostgreSQL function that has no result: `SELECT pg_notify(...)`.
_NO_VALUE = "void"

# The first server version whose statements can have RETURNING.
_RETURNING = {
    "PostgreSQL": {"INSERT": 0, "UPDATE": 0, "DELETE": 0, "MERGE": 17},
    "SQLite": {"INSERT": 0, "UPDATE": 0, "DELETE": 0, "REPLACE": 0},
    "MariaDB": {"INSERT": 0, "DELETE": 0, "REPLACE": 0},
}


def discarded_rows(info: QueryInfo, description: Description) -> Iterator[Finding]:
    """Yield a finding if a function without rows discards the rows of its statement."""
    has_values = any(column.type != _NO_VALUE for column in description.columns)
    is_nothing = info.cardinality is Cardinality.NOTHING
    if not description.columns or (is_nothing and not has_values):
        return
    names = ", ".join(f'"{column.name}"' for column in description.columns)
    returned = "None" if is_nothing else "RowCount"
    yield finding(
        rules.ROWS_MISMATCH,
        f"the statement returns rows ({names}), but {_name(info)}() -> {returned} discards them",
        location_of_output(info),
        query=info.name,
        hint=_hint_for_rows(info, description, has_values=has_values),
    )


def _hint_for_rows(info: QueryInfo, description: Description, *, has_values: bool) -> str:
    if not has_values:
        return "declare the function -> None: its only result is void"
    if has_returning(_sql(info, description)):
        return "declare the type of the rows, or remove RETURNING"
    return "declare the type of the rows"


def missing_rows(info: QueryInfo, description: Description) -> Finding:
    """Return the finding for a function that returns rows, whose statement returns none."""
    changes = "declare the function -> None or -> RowCount"
    keyword = statement_keyword(_sql(info, description))
    if _can_return(keyword, description.server):
        hint = f"add RETURNING, or {changes}"
    else:
        is_change = any(keyword in keywords for keywords in _RETURNING.values())
        hint = changes if is_change else "declare the function -> None"
    return finding(
        rules.ROWS_MISMATCH,
        f"the statement returns no rows, but {_name(info)}() is declared to return rows",
        location_of_query(info),
        query=info.name,
        hint=hint,
    )


def _can_return(keyword: str, server: str) -> bool:
    """Return whether a statement of this kind can have RETURNING on a server."""
    product, _, version = server.partition(" ")
    first = _RETURNING.get(product, {}).get(keyword)
    major = re.match(r"\d+", version)
    return first is not None and (major is None or int(major[0]) >= first)


def _sql(info: QueryInfo, description: Description) -> str:
    return info.sql if info.is_text else description.sql


def _name(info: QueryInfo) -> str:
    return info.name.rpartition(".")[2]
