"""Read PostgreSQL's own analysis of a statement, without executing the statement.

A temporary function whose body is the statement (``BEGIN ATOMIC``, PostgreSQL 14 and later)
stores the analysed tree in the catalog, in ``pg_proc.prosqlbody``. The function is removed by
the rollback of the transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqla_typedpool.describe.deadline import TIME_LIMIT_CODES
from sqla_typedpool.describe.model import NULLABILITY_UNKNOWN
from sqla_typedpool.describe.postgres.nodes import Node, only_query
from sqla_typedpool.describe.postgres.session import PreparedStatement, Session
from sqla_typedpool.describe.postgres.types import Types
from sqla_typedpool.errors import Refused

_NAME = "sqla_typedpool_described"
_MAX_PARAMETERS = 100  # of a function
_TREE = """
SELECT prosqlbody::pg_catalog.text FROM pg_catalog.pg_proc
WHERE pronamespace = pg_catalog.pg_my_temp_schema() AND proname = $1::pg_catalog.text
"""
# CREATE FUNCTION would execute event triggers, which are code of the application. Nothing is ever
# dropped, so event triggers for sql_drop are not executed.
_STATE = """
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
    """The analysis of a statement."""

    # The analysed tree; None if it is not known, or of a utility statement.
    query: Node | None
    # Why the tree is not known, or not understood; "" if it is.
    reason: str = ""
    # What to do about that; "" if there is nothing.
    next_step: str = ""

    def note(self, *, has_columns: bool, may_write: bool) -> str:
        """Return what is unknown about a statement, why, and the next step; "" if nothing is."""
        effects = {
            "every column is reported as nullable": has_columns,
            "the values that it writes are not checked": may_write,
        }
        found = [effect for effect, is_true in effects.items() if is_true]
        if not self.reason or not found:
            return ""
        subject = NULLABILITY_UNKNOWN if has_columns else "what it writes is unknown"
        next_step = f"; next: {self.next_step}" if self.next_step else ""
        return f"{subject}: {self.reason}, so {' and '.join(found)}{next_step}"


@dataclass(frozen=True)
class Analyzer:
    """Analyses statements in one session."""

    session: Session
    # The server's version: ``150018``.
    version: int
    # Why no temporary function can be created; "" if one can.
    obstacle: str

    @classmethod
    async def create(cls, session: Session) -> Analyzer:
        """Find out whether this session can create temporary functions."""
        ((version, standby, read_only, has_temp, trigger),) = await session.fetch(_STATE)
        obstacles = {
            "the server is older than PostgreSQL 14": version < 140000,
            "the server is a standby": standby,
            "the transaction is read-only": read_only,
            "the role lacks the privilege TEMP": not has_temp,
            f"the event trigger {trigger} would run": trigger is not None,
        }
        obstacle = next((text for text, is_present in obstacles.items() if is_present), "")
        return cls(session, version, obstacle or await _create_schema(session))

    async def analyze(self, sql: str, prepared: PreparedStatement, types: Types) -> Analysis:
        """Return the analysed tree of one statement.

        Call it in a savepoint: it leaves a function, or a failed transaction, behind.

        :param sql: a single statement; PREPARE has accepted it.
        """
        parameters = prepared.parameters
        if self.obstacle:
            next_step = (
                "check with --ephemeral, or with a role that can create temporary functions on a "
                "primary of PostgreSQL 14 or later"
            )
            return Analysis(None, self.obstacle, next_step)
        if len(parameters) > _MAX_PARAMETERS:
            reason = (
                f"the statement has {len(parameters)} parameters, and a function can have "
                f"{_MAX_PARAMETERS}"
            )
            return Analysis(None, reason, "pass an array")
        arguments = ", ".join(map(types.sql_name, parameters))
        returns = "SETOF pg_catalog.record" if prepared.columns else "void"
        try:
            await self.session.fetch(
                f"CREATE FUNCTION pg_temp.{_NAME}({arguments}) RETURNS {returns} "
                f"LANGUAGE sql BEGIN ATOMIC {sql}\n; END"
            )
            ((text,),) = await self.session.fetch(_TREE, _NAME)
            return Analysis(only_query(text))
        except Refused as error:
            if error.code in TIME_LIMIT_CODES:
                raise
            return Analysis(None, error.message)
        except ValueError as error:
            return Analysis(None, str(error))


async def _create_schema(session: Session) -> str:
    """Create the session's temporary schema once, and not again in each savepoint.

    :return: why no temporary function can be created; "" if one can.
    """
    sql = f"CREATE FUNCTION pg_temp.{_NAME}_schema() RETURNS void LANGUAGE sql BEGIN ATOMIC END"
    try:
        async with session.rolled_back():
            await session.fetch(sql)
    except Refused as error:
        return f"no temporary function can be created: {error.message}"
    await session.fetch(sql)
    return ""
