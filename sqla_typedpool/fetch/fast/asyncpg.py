"""The fast path of asyncpg: prepare, check the columns, and only then execute.

Alone, a statement runs without a transaction block, in one round trip.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy.asyncpg_adapter import (
    end_preparation,
    in_transaction,
    is_default_connection,
    is_prepared,
    prepare,
    prepare_again,
    row_count,
)
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.fetch.columns import columns_of_prepared
from sqla_typedpool.fetch.fast.refusals import NeedsSlowPath
from sqla_typedpool.statement import is_safe_without_transaction, may_set_session

if TYPE_CHECKING:
    from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement
    from sqla_typedpool.fetch.fast.call import Call


class AsyncpgFast:
    """Runs statements on asyncpg."""

    family = "postgresql"
    describes_first = True

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect

    def may_run_alone(self, statement: DriverStatement) -> bool:
        return is_safe_without_transaction(statement.sql)

    def is_default(self, call: Call) -> bool:
        return not call.is_alone or is_default_connection(call.adapted, self.dialect)

    def run(self, call: Call) -> Awaitable[Any]:
        return self._run(call) if call.is_alone else in_transaction(call.adapted, self._run, call)

    async def _run(self, call: Call) -> Any:
        prepared, attributes = await prepare(call.adapted, self.dialect, call.statement.sql)
        try:
            if not call.wants_rows:
                await prepared.fetch(*call.arguments)
                return row_count(prepared)
            mapper = call.mappers.get(id(attributes))
            if mapper is not None:
                call.mapper = mapper
            else:
                current = await self._accept(call, prepared, attributes)
                # A migration may have made `prepared` invalid. In a transaction it is run all the
                # same, to raise the error that SQLAlchemy raises for it.
                prepared = current if call.is_alone else prepared
            return await prepared.fetch(*call.arguments)
        except Exception as error:
            await end_preparation(call.adapted, error, (RowShapeError, NeedsSlowPath))
            raise

    async def _accept(self, call: Call, prepared: Any, attributes: Sequence[Any]) -> Any:
        """Check columns that are new.

        If they do not fit the row type, a migration may have changed them since the statement
        was prepared: it is then prepared again.

        :return: the prepared statement that ``call.mapper`` is for.
        :raises RowShapeError: the columns that the server sends now do not fit.
        """
        try:
            self._add_mapper(call, attributes)
        except RowShapeError:
            prepared, current = await prepare_again(call.adapted, self.dialect, call.statement.sql)
            if current == attributes:
                raise
        else:
            return prepared
        self._add_mapper(call, current)
        return prepared

    def _add_mapper(self, call: Call, attributes: Sequence[Any]) -> None:
        codes = [attribute.type.oid for attribute in attributes]
        columns = columns_of_prepared(attributes)
        call.add_mapper(id(attributes), columns, codes, self, keep=attributes)

    def may_keep_settings(self, call: Call) -> bool:
        # No rollback undoes a setting that the statement makes, as its own transaction may have
        # ended, nor `jit = off`, which asyncpg sets while it queries an unknown type.
        sql = call.statement.sql
        return may_set_session(sql) or not is_prepared(call.adapted, sql)
