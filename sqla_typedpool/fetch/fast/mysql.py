"""The fast path of aiomysql and asyncmy: execute, check the columns, and only then commit.

A transaction begins with its first statement. Alone, a statement takes two round trips: itself and
COMMIT.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from sqla_typedpool._sqlalchemy.mysql_adapter import (
    commit,
    commits_each_statement,
    is_plain_connection,
    lock_and_cursor,
)
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.fetch.columns import columns_of_codes

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement
    from sqla_typedpool.fetch.fast.call import Call

# Statements that have one result and do not commit. A procedure may have several, and commit;
# DDL commits; LOAD DATA may read a file of the client. The server executes `/*! comments */`.
_PLAIN = re.compile(
    r"(?:\s|\(|--\s[^\n]*\n|#[^\n]*\n|/\*(?!M?!)(?:[^*/]|\*(?!/)|/(?!\*))*\*/)*"
    r"(?:SELECT|WITH|VALUES|TABLE|INSERT|UPDATE|DELETE|REPLACE)\b",
    re.IGNORECASE,
)


def is_plain_sql(sql: str) -> bool:
    """Return whether this SQL is one statement with one result, which does not commit."""
    stripped = sql.rstrip()
    return ";" not in stripped[:-1] and _PLAIN.match(stripped) is not None


class MysqlFast:
    """Runs statements on aiomysql and asyncmy."""

    family = "mysql"
    describes_first = False

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect

    def may_run_alone(self, statement: DriverStatement) -> bool:
        return is_plain_sql(statement.sql)

    def is_default(self, call: Call) -> bool:
        if not is_plain_connection(call.adapted):
            return False
        if call.is_alone:
            return not commits_each_statement(call.adapted)
        return call.statement.may_run_alone  # a procedure may commit and have several results

    def run(self, call: Call) -> Awaitable[Any]:
        return self._run_and_commit(call) if call.is_alone else self._run(call)

    async def _run_and_commit(self, call: Call) -> Any:
        try:
            result = await self._run(call)
        except RowShapeError:
            call.is_committing = True
            # through the dialect, whose rollbacks have a time limit
            await greenlet_spawn(self.dialect.do_rollback, call.adapted)
            raise
        call.is_committing = True
        await commit(call.adapted)
        return result

    async def _run(self, call: Call) -> Any:
        lock, cursor = lock_and_cursor(call.adapted)
        await lock.acquire()  # `async with` would add two coroutines
        try:
            await cursor.execute(call.statement.sql, call.arguments)
            if not call.wants_rows:
                return cursor.rowcount
            description = cursor.description
            key = _assumed(call) if description is None else tuple([c[:2] for c in description])
            mapper = call.mappers.get(key)
            if mapper is not None:
                call.mapper = mapper
            else:
                codes = [code for _, code in key]
                call.add_mapper(key, columns_of_codes(key, self.family), codes, self)
            return await cursor.fetchall()
        finally:
            lock.release()

    def may_keep_settings(self, call: Call) -> bool:
        return True  # SQL may set a variable anywhere: `SELECT @x := 1`


def _assumed(call: Call) -> tuple[tuple[str, None], ...]:
    """Return the names of the statement's columns, without type codes; () if there are none.

    The server may not describe a DELETE with RETURNING whose condition is never true. SQLAlchemy
    then assumes the columns of the statement.
    """
    return tuple([(entry.keyname, None) for entry in call.statement.result_columns])
