"""How PostgreSQL's own analysis of a statement is got hold of, without running it.

A temporary function around the statement (``BEGIN ATOMIC``, PostgreSQL 14 and later) keeps
the analysed tree in the catalogue, where it can be read; the transaction is rolled back.
Where no such function can be made, the server can print the tree to the session, but prints
it to its own log as well: that is done only when it is allowed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqla_typedpool.check.model import Refused

from .nodes import Node, parse_nodes
from .types import Types
from .wire import Prepared, Wire

__all__ = ["Analysis", "Analyst"]

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

    wire: Wire
    version: int
    """``150018``."""
    obstacle: str
    """Why no temporary function can be made; "" = it can."""
    may_log: bool

    @classmethod
    async def arrive(cls, wire: Wire, *, may_log: bool) -> Analyst:
        """Look at the session's situation, and make room for temporary functions."""
        ((version, standby, read_only, may_create, trigger),) = await wire.fetch(_SITUATION)
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
        analyst = cls(wire, version, obstacle, may_log)
        if not obstacle:
            await analyst._make_room()
        return analyst

    async def _make_room(self) -> None:
        """The temporary schema, once and not in each savepoint; it goes with the transaction."""
        room = f"CREATE FUNCTION pg_temp.{_NAME}_room() RETURNS void LANGUAGE sql BEGIN ATOMIC END"
        try:
            async with self.wire.undone():
                await self.wire.fetch(room)
        except Refused as error:
            self.obstacle = f"no temporary function can be made: {error.message}"
        else:
            await self.wire.fetch(room)

    async def analyse(self, sql: str, prepared: Prepared, types: Types) -> Analysis:
        """The analysed tree of a statement that was prepared already, and so is only one.

        Inside a savepoint: it leaves a function, settings or a failed transaction behind.
        """
        try:
            if not self.obstacle:
                return await self._by_function(sql, prepared, types)
            if self.may_log:
                return await self._by_log(sql)
        except ValueError as error:
            return Analysis(None, f"nullability is unknown: {error}")
        return Analysis(
            None,
            f"nullability is unknown, and every column is taken to be nullable: {self.obstacle}; "
            f"next: check with a role that may create temporary functions on a primary of "
            f"PostgreSQL 14 or later, or allow the server's log (--allow-server-log)",
        )

    async def _by_function(self, sql: str, prepared: Prepared, types: Types) -> Analysis:
        if len(prepared.parameters) > _MOST_PARAMETERS:
            return Analysis(
                None,
                f"nullability is unknown: {len(prepared.parameters)} parameters are more than "
                f"the {_MOST_PARAMETERS} that a function can have; next: pass an array",
            )
        arguments = ", ".join(types.sql_name(each) for each in prepared.parameters)
        returns = "SETOF pg_catalog.record" if prepared.columns else "void"
        try:
            await self.wire.fetch(
                f"CREATE FUNCTION pg_temp.{_NAME}({arguments}) RETURNS {returns} "
                f"LANGUAGE sql BEGIN ATOMIC {sql}\n; END"
            )
            ((text,),) = await self.wire.fetch(_TREE, _NAME)
        except Refused as error:
            return Analysis(None, f"nullability is unknown: {error.message}")
        return Analysis(_only_query(text))

    async def _by_log(self, sql: str) -> Analysis:
        for setting in _PRINTING:
            await self.wire.fetch(setting)
        with self.wire.hearing() as heard:
            await self.wire.prepare(sql)
            await asyncio.sleep(0)  # asyncpg calls its listeners at the loop's next turn
        trees = [text for text in heard if "{QUERY " in text.partition("\n")[2]]
        if len(trees) != 1:
            return Analysis(None, "nullability is unknown: the server has not printed its analysis")
        return Analysis(_only_query(trees[0].partition("\n")[2].strip()))


_PRINTING = (
    "SET LOCAL client_min_messages = log",
    "SET LOCAL debug_pretty_print = off",
    "SET LOCAL debug_print_parse = on",
)


def _only_query(text: str | None) -> Node | None:
    """A tree, or lists around it."""
    tree = parse_nodes(text or "<>")
    while isinstance(tree, list):
        if len(tree) != 1:
            raise ValueError(f"{len(tree)} statements where one is due")
        (tree,) = tree
    return tree if isinstance(tree, Node) and tree.commandType in _JUDGED else None


_JUDGED = frozenset("12345")
