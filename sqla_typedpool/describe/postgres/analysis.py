"""How PostgreSQL's own analysis of a statement is got hold of, without running it.

A temporary function around the statement (``BEGIN ATOMIC``, PostgreSQL 14 and later) keeps
the analysed tree in the catalogue, where it can be read; the transaction is rolled back.
Where no such function can be made, the server can print the tree to the session, but prints
it to its own log as well: that is done only when it is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqla_typedpool.describe.postgres.nodes import Node, parse_nodes
from sqla_typedpool.describe.postgres.session import PreparedStatement, Session
from sqla_typedpool.describe.postgres.types import Types
from sqla_typedpool.errors import Refused

_NAME = "sqla_typedpool_described"
_MOST_PARAMETERS = 100  # of a function
_TREE = """
SELECT prosqlbody::pg_catalog.text FROM pg_catalog.pg_proc
WHERE pronamespace = pg_catalog.pg_my_temp_schema() AND proname = $1::pg_catalog.text
"""
# Event triggers are code of the application's, and CREATE FUNCTION would run it.
# Nothing is ever dropped, so that those for sql_drop stay still.
_SITUATION = """
SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
    pg_catalog.pg_is_in_recovery(),
    pg_catalog.current_setting('transaction_read_only') = 'on',
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP'),
    (SELECT pg_catalog.min(e.evtname::pg_catalog.text) FROM pg_catalog.pg_event_trigger e
     WHERE e.evtenabled <> 'D' AND e.evtevent IN ('ddl_command_start', 'ddl_command_end')
     AND (e.evttags IS NULL OR 'CREATE FUNCTION' = ANY (e.evttags)))
"""


@dataclass(frozen=True)
class Analysis:
    """What was found out."""

    query: Node | None
    """The analysed tree; None = unknown."""
    note: str = ""
    """Why it is unknown, and the next step."""


@dataclass
class Analyst:
    """One session, and what may be done in it."""

    session: Session
    version: int
    """``150018``."""
    obstacle: str
    """Why no temporary function can be made; "" = it can."""

    @classmethod
    async def arrive(cls, session: Session) -> Analyst:
        """Look at the session's situation, and make room for temporary functions."""
        ((version, standby, read_only, may_create, trigger),) = await session.fetch(_SITUATION)
        obstacle = ""
        if version < 140000:
            obstacle = "the server is older than PostgreSQL 14"
        elif standby:
            obstacle = "the server is a standby"
        elif read_only:
            obstacle = "the transaction is read-only"
        elif not may_create:
            obstacle = "the role lacks the privilege TEMP"
        elif trigger is not None:
            obstacle = f"the event trigger {trigger} would run"
        analyst = cls(session, version, obstacle)
        if not obstacle:
            await analyst._make_room()
        return analyst

    async def _make_room(self) -> None:
        """The temporary schema, once and not in each savepoint; it goes with the transaction."""
        room = f"CREATE FUNCTION pg_temp.{_NAME}_room() RETURNS void LANGUAGE sql BEGIN ATOMIC END"
        try:
            async with self.session.rolled_back():
                await self.session.fetch(room)
        except Refused as error:
            self.obstacle = f"no temporary function can be made: {error.message}"
        else:
            await self.session.fetch(room)

    async def analyse(self, sql: str, prepared: PreparedStatement, types: Types) -> Analysis:
        """The analysed tree of a statement that was prepared already, and so is only one.

        Inside a savepoint: it leaves a function, settings or a failed transaction behind.
        """
        try:
            if not self.obstacle:
                return await self._by_function(sql, prepared, types)
        except ValueError as error:
            return Analysis(None, f"nullability is unknown: {error}")
        return Analysis(
            None,
            f"nullability is unknown, and every column is taken to be nullable: {self.obstacle}; "
            f"next: check with --ephemeral, or with a role that may create temporary functions on "
            f"a primary of PostgreSQL 14 or later",
        )

    async def _by_function(self, sql: str, prepared: PreparedStatement, types: Types) -> Analysis:
        if len(prepared.parameters) > _MOST_PARAMETERS:
            return Analysis(
                None,
                f"nullability is unknown: {len(prepared.parameters)} parameters are more than "
                f"the {_MOST_PARAMETERS} that a function can have; next: pass an array",
            )
        arguments = ", ".join(types.sql_name(each) for each in prepared.parameters)
        returns = "SETOF pg_catalog.record" if prepared.columns else "void"
        try:
            await self.session.fetch(
                f"CREATE FUNCTION pg_temp.{_NAME}({arguments}) RETURNS {returns} "
                f"LANGUAGE sql BEGIN ATOMIC {sql}\n; END"
            )
            ((text,),) = await self.session.fetch(_TREE, _NAME)
        except Refused as error:
            return Analysis(None, f"nullability is unknown: {error.message}")
        return Analysis(_only_query(text))


def _only_query(text: str | None) -> Node | None:
    """A tree, or lists around it."""
    tree = parse_nodes(text or "<>")
    while isinstance(tree, list):
        if len(tree) != 1:
            raise ValueError(f"{len(tree)} statements where one is due")
        (tree,) = tree
    return tree if isinstance(tree, Node) and tree.commandType in _JUDGED else None


_JUDGED = frozenset("12345")
