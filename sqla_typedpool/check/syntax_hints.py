"""Advice for SQL text that a database refuses because of how its parameters are written."""

from __future__ import annotations

from sqla_typedpool.queries.sql_checks import names_before_casts
from sqla_typedpool.tokens import list_binds, tokens


def syntax_hint(sql: str, *, are_expanded: bool = False) -> str:
    """Return the next step for ``:x::int`` and ``IN :ids``; "" if the text has neither.

    :param sql: the text as it is written, with ``:name`` parameters.
    :param are_expanded: whether the lists after ``IN`` were expanded.
    """
    for name in names_before_casts(tokens(sql)):
        return f"write CAST(:{name} AS ...), or add a space: :{name} ::"
    for each in () if are_expanded else list_binds(sql):
        return (
            f"write = ANY(:{each.name}) on PostgreSQL, or declare the SQL as a str, in which "
            f'@query expands the list; in text() write bindparam("{each.name}", expanding=True)'
        )
    return ""
