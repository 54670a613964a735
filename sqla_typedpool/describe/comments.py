"""The comments of columns, as `COMMENT ON COLUMN` sets them."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

_POSTGRESQL = """
SELECT pg_catalog.concat_ws('.', n.nspname, c.relname, a.attname), d.description
FROM pg_catalog.pg_description d
JOIN pg_catalog.pg_class c ON c.oid = d.objoid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid
WHERE d.classoid = CAST('pg_catalog.pg_class' AS pg_catalog.regclass) AND d.objsubid > 0
AND pg_catalog.concat_ws('.', n.nspname, c.relname, a.attname) IN :origins
"""
_MYSQL = """
SELECT concat_ws('.', table_schema, table_name, column_name), column_comment
FROM information_schema.columns
WHERE column_comment <> '' AND table_schema IN :schemas
AND concat_ws('.', table_schema, table_name, column_name) IN :origins
"""
_QUERIES = {"postgresql": _POSTGRESQL, "mysql": _MYSQL, "mariadb": _MYSQL}


async def column_comments(connection: AsyncConnection, origins: Collection[str]) -> dict[str, str]:
    """Return the comments of columns by their `ColumnDescription.origin`.

    Columns without a comment are left out. SQLite has no comments.
    """
    query = _QUERIES.get(connection.dialect.name)
    if query is None or not origins:
        return {}
    values = {
        "origins": list(origins),
        "schemas": [each.partition(".")[0] for each in origins],
    }
    used = {name: value for name, value in values.items() if f":{name}" in query}
    statement = text(query).bindparams(*(bindparam(name, expanding=True) for name in used))
    rows = await connection.execute(statement, used)
    return {row[0]: row[1] for row in rows}
