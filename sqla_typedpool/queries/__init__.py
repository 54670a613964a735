"""Declared queries: SQL with a name, a signature and a row type.

A declaration is checked by the decorator ``query``, without a database. The checker
(``sqla_typedpool.check``) compares it with a database.
"""

from __future__ import annotations

from sqla_typedpool.queries.declare import declared, query, query_info
from sqla_typedpool.queries.info import Bind, Origin, QueryInfo
from sqla_typedpool.queries.returns import Cardinality, RowCount

__all__ = [
    "Bind",
    "Cardinality",
    "Origin",
    "QueryInfo",
    "RowCount",
    "declared",
    "query",
    "query_info",
]
