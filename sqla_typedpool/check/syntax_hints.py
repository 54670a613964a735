"""Advice for SQL text that a database refuses because of how its parameters are written."""

from __future__ import annotations

from itertools import pairwise

from sqla_typedpool.queries.sql_checks import names_before_casts
from sqla_typedpool.tokens import TokenKind, tokens


def syntax_hint(sql: str) -> str:
    """Return the next step for ``:x::int`` and ``IN :ids``; "" if the text has neither.

    :param sql: the text as it is written, with ``:name`` parameters.
    """
    found = tokens(sql)
    for name in names_before_casts(found):
        return f"write CAST(:{name} AS ...), or add a space: :{name} ::"
    for word, bind in pairwise(found):
        if word.is_word("IN") and bind.kind is TokenKind.BIND:
            name = bind.text[1:]
            return (
                f"write = ANY({bind.text}) on PostgreSQL, or let SQLAlchemy expand the list: "
                f'text(...).bindparams(bindparam("{name}", expanding=True))'
            )
    return ""
