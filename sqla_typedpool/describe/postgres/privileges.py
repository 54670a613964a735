"""Check that the role has the privileges that a statement needs; PREPARE does not check them.

https://www.postgresql.org/docs/current/ddl-priv.html
"""

from __future__ import annotations

from sqla_typedpool.describe.postgres.nodes import Node, nodes_in
from sqla_typedpool.describe.postgres.session import Session
from sqla_typedpool.errors import Refused

# nodes/parsenodes.h: ACL_INSERT, ACL_SELECT, ACL_UPDATE, ACL_DELETE
_PRIVILEGES = {1: "INSERT", 2: "SELECT", 4: "UPDATE", 8: "DELETE"}

# A privilege on any column is enough here; which columns need one is left to the server.
_ALLOWED = """
SELECT a.privilege, pg_catalog.format('%I.%I', n.nspname, c.relname), current_user::pg_catalog.text,
    pg_catalog.has_table_privilege(c.oid, a.privilege)
    OR a.privilege <> 'DELETE' AND pg_catalog.has_any_column_privilege(c.oid, a.privilege)
FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.text[]) AS needed(pair)
CROSS JOIN LATERAL (
    SELECT pg_catalog.split_part(pair, ' ', 1)::pg_catalog.oid,
        pg_catalog.split_part(pair, ' ', 2)) AS a(relation, privilege)
JOIN pg_catalog.pg_class c ON c.oid = a.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""


class Privileges:
    """The privileges of the current role; each is looked up once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._allowed: set[tuple[int, str]] = set()

    async def require(self, query: Node | None) -> None:
        """Check the relations that the statement itself names; a view reads as its owner.

        :raises Refused: the role lacks a privilege.
        """
        new = _needed(query) - self._allowed
        if not new:
            return
        pairs = ",".join(f'"{relation} {privilege}"' for relation, privilege in sorted(new))
        rows = await self._session.fetch(_ALLOWED, f"{{{pairs}}}")
        for privilege, relation, role, is_allowed in rows:
            if not is_allowed:
                raise Refused(
                    f"permission denied for {relation}: {role} has no right to {privilege}",
                    hint=f"GRANT {privilege} ON {relation} TO {role}, or check as another role",
                    code="42501",
                )
        self._allowed |= new


def _needed(query: Node | None) -> set[tuple[int, str]]:
    # requiredPerms is in RANGETBLENTRY up to PostgreSQL 15, then in RTEPERMISSIONINFO
    return {
        (node.number("relid"), privilege)
        for node in nodes_in(query)
        if node.fields.get("requiredPerms") and node.number("relid")
        for bit, privilege in _PRIVILEGES.items()
        if node.number("requiredPerms") & bit
    }
