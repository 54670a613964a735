"""The fast path of psycopg: execute, check the columns, and only then commit.

psycopg reports the columns of a statement when it has been executed. On an engine a read whose
columns were accepted before runs in autocommit, as ``execute`` does. That is one round trip.
Every other statement runs in BEGIN and COMMIT.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from sqla_typedpool._sqlalchemy.psycopg_adapter import (
    PsycopgConnections,
    begin_autocommit,
    end_autocommit,
    is_stale_on_psycopg,
)
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.fetch.columns import columns_of_codes
from sqla_typedpool.statement import (
    is_one_statement,
    is_read,
    is_safe_without_transaction,
    may_set_session,
)

if TYPE_CHECKING:
    from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement
    from sqla_typedpool.fetch.fast.call import Call


class PsycopgFast:
    """Runs statements on psycopg."""

    family = "postgresql"
    describes_first = False

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect
        self._connections = PsycopgConnections(dialect)

    def may_run_alone(self, statement: DriverStatement) -> bool:
        # psycopg sends SQL without parameters in a message that may contain several statements
        return is_safe_without_transaction(statement.sql) and is_one_statement(statement.sql)

    def is_default(self, call: Call) -> bool:
        connections, adapted = self._connections, call.adapted
        return connections.returns_tuples(adapted) and (
            not call.is_alone or connections.is_default(adapted)
        )

    def run(self, call: Call) -> Awaitable[Any]:
        connection = call.adapted.driver_connection
        return self._run_alone(call, connection) if call.is_alone else self._run(call, connection)

    async def _run_alone(self, call: Call, connection: Any) -> Any:
        is_accepted = call.mappers and is_read(call.statement.sql)
        try:
            if call.wants_rows and not is_accepted:
                return await self._run_and_commit(call, connection)
            try:
                begin_autocommit(connection)
                return await self._run(call, connection)
            finally:
                end_autocommit(connection)
        except self.dialect.dbapi.NotSupportedError as error:
            if not is_stale_on_psycopg(error):
                raise
            # The statement has not been run.
            await self._forget_prepared(call, connection)
            return await self._run_and_commit(call, connection)

    async def _run_and_commit(self, call: Call, connection: Any) -> Any:
        try:
            rows = await self._run(call, connection)
        except RowShapeError:
            call.is_committing = True
            await self._roll_back(call)
            raise
        call.is_committing = True
        await connection.commit()
        return rows

    async def _run(self, call: Call, connection: Any) -> Any:
        """Execute the statement; psycopg begins a transaction before, if none is open."""
        cursor = connection.cursor()
        await cursor.execute(call.statement.sql, call.arguments)
        if not call.wants_rows:
            return cursor.rowcount
        result = cursor.pgresult
        key = tuple([(result.fname(i), result.ftype(i)) for i in range(result.nfields)])
        mapper = call.mappers.get(key)
        if mapper is not None:
            call.mapper = mapper
        else:
            self._add_mapper(call, key, cursor.description or ())
        return await cursor.fetchall()

    def _add_mapper(self, call: Call, key: Any, description: Any) -> None:
        described = [(each.name, each.type_code) for each in description]
        columns = columns_of_codes(described, self.family)
        call.add_mapper(key, columns, [code for _, code in described], self)

    async def _roll_back(self, call: Call) -> None:
        """Roll back within the time limit of the pool."""
        await greenlet_spawn(self.dialect.do_rollback, call.adapted)

    async def _forget_prepared(self, call: Call, connection: Any) -> None:
        """Remove the prepared statements, as psycopg does when it has sent a ROLLBACK."""
        if not connection.pgconn.transaction_status:
            await connection.execute("")  # begins a transaction
        await self._roll_back(call)

    def may_keep_settings(self, call: Call) -> bool:
        return may_set_session(call.statement.sql)
