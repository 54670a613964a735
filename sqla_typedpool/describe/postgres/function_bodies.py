"""Read the bodies of the application's functions that are written in SQL.

A body that is a single query is inferred as a statement is. Nothing is executed.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqla_typedpool.describe.deadline import TIME_LIMIT_CODES
from sqla_typedpool.describe.postgres.nodes import Node, only_query, type_oid
from sqla_typedpool.describe.postgres.session import Session
from sqla_typedpool.errors import Refused
from sqla_typedpool.tokens import second_statement

_NAME = "sqla_typedpool_body"
# Functions with OUT or VARIADIC parameters, of sets, and of types that depend on the arguments are
# left out. $1: OIDs of functions.
_BODIES = """
SELECT p.oid::pg_catalog.int8, p.prorettype::pg_catalog.int8, p.prosqlbody::pg_catalog.text,
    p.prosrc, pg_catalog.pg_get_function_identity_arguments(p.oid),
    pg_catalog.format_type(p.prorettype, NULL)
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname = 'sql'
JOIN pg_catalog.pg_type t ON t.oid = p.prorettype AND t.typtype <> 'p'
WHERE p.oid = ANY ($1::pg_catalog.text::pg_catalog.oid[]) AND p.prokind = 'f' AND NOT p.proretset
AND NOT EXISTS (SELECT FROM pg_catalog.pg_type a
                WHERE a.oid = ANY (p.proargtypes::pg_catalog.oid[]) AND a.typtype = 'p')
AND p.proargmodes IS NULL AND (p.proconfig IS NULL OR p.prosqlbody IS NOT NULL)
"""
_TREE = """
SELECT prosqlbody::pg_catalog.text FROM pg_catalog.pg_proc
WHERE pronamespace = pg_catalog.pg_my_temp_schema() AND proname = $1::pg_catalog.text
"""


@dataclass(frozen=True)
class FunctionBody:
    """The only query of a function's body, which has one column of the function's type."""

    query: Node
    # For the fingerprint.
    text: str


async def function_bodies(session: Session, oids: str) -> dict[int, FunctionBody]:
    """Return the bodies of those functions that have a single query, by OID.

    Call it in a savepoint.

    :param oids: the text of an array of the OIDs of the application's functions.
    """
    found = {}
    for oid, result_type, tree, source, *signature in await session.fetch(_BODIES, oids):
        text = tree or await _analysed(session, source, *signature)
        query = _query_of(text, result_type)
        if query is not None:
            found[oid] = FunctionBody(query, tree or source)
    return found


async def _analysed(session: Session, source: str, arguments: str, result: str) -> str:
    """Return the tree of a body that is stored as text; "" if it cannot be analysed."""
    if second_statement(source) is not None:
        return ""
    sql = (
        f"CREATE FUNCTION pg_temp.{_NAME}({arguments}) RETURNS {result} "
        f"LANGUAGE sql BEGIN ATOMIC {source}\n; END"
    )
    try:
        async with session.rolled_back():
            await session.fetch(sql)
            ((tree,),) = await session.fetch(_TREE, _NAME)
            return str(tree or "")
    except Refused as error:
        if error.code in TIME_LIMIT_CODES:
            raise
        return ""  # for example, a table that only the owner's search_path has


def _query_of(tree: str, result_type: int) -> Node | None:
    """Return the query of a body; None if it is not one query with a column of this type."""
    try:
        query = only_query(tree)
    except ValueError:
        return None
    columns = [] if query is None else [each.expr for each in query.nodes("targetList")]
    is_plain = len(columns) == 1 and type_oid(columns[0]) == result_type
    return query if is_plain else None
