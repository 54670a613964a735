"""Declared queries: SQL with a name, a signature and a type of rows.

``declare`` is the door. A declaration is checked where it stands, without a database; the
checker (``sqla_typedpool.check``) asks a database about the rest.
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
