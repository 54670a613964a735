"""Whether the role may do what a statement does: PREPARE does not look, only running it would.

https://www.postgresql.org/docs/current/ddl-priv.html
"""

from __future__ import annotations

from sqla_typedpool.describe.postgres.nodes import Node, nodes_in
from sqla_typedpool.describe.postgres.session import Session
from sqla_typedpool.errors import Refused

# nodes/parsenodes.h: ACL_INSERT, ACL_SELECT, ACL_UPDATE, ACL_DELETE
_RIGHTS = {1: "INSERT", 2: "SELECT", 4: "UPDATE", 8: "DELETE"}

# A right to one column is enough here: which ones it takes is left to the server.
_ALLOWED = """
SELECT a.privilege, pg_catalog.format('%I.%I', n.nspname, c.relname), current_user::pg_catalog.text,
    pg_catalog.has_table_privilege(c.oid, a.privilege)
    OR a.privilege <> 'DELETE' AND pg_catalog.has_any_column_privilege(c.oid, a.privilege)
FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.text[]) AS asked(pair)
CROSS JOIN LATERAL (
    SELECT pg_catalog.split_part(pair, ' ', 1)::pg_catalog.oid,
        pg_catalog.split_part(pair, ' ', 2)) AS a(relation, privilege)
JOIN pg_catalog.pg_class c ON c.oid = a.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""


class Privileges:
    """What the role may do; each relation is asked about once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._allowed: set[tuple[int, str]] = set()

    async def require(self, query: Node | None) -> None:
        """Ask about the relations that a statement names itself; a view reads as its owner.

        :raises Refused: the role may not do it.
        """
        new = _needed(query) - self._allowed
        if not new:
            return
        pairs = ",".join(f'"{relation} {right}"' for relation, right in sorted(new))
        for right, relation, role, is_allowed in await self._session.fetch(
            _ALLOWED, f"{{{pairs}}}"
        ):
            if not is_allowed:
                raise Refused(
                    f"permission denied for {relation}: {role} has no right to {right}",
                    hint=f"GRANT {right} ON {relation} TO {role}, or check as another role",
                    code="42501",
                )
        self._allowed |= new


def _needed(query: Node | None) -> set[tuple[int, str]]:
    # the entry of the relation itself up to PostgreSQL 15, then one of its own
    return {
        (node.number("relid"), right)
        for node in nodes_in(query)
        if node.fields.get("requiredPerms") and node.number("relid")
        for bit, right in _RIGHTS.items()
        if node.number("requiredPerms") & bit
    }
