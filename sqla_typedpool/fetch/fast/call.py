"""One statement on its way through the fast path, and what a driver must be able to do with it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.fetch.fast.refusals import NeedsSlowPath
from sqla_typedpool.fetch.fast.row_mappers import RowMapper, make_map_rows
from sqla_typedpool.mapping.plan import Column

_READ_WITH_SQLALCHEMY = "next: run it with SQLAlchemy's execute(), and read it with rows_as()"
_MAX_MAPPERS = 200  # for one statement and row type: each connection may need its own


class Call:
    """One call of ``fetch_*`` or ``execute``."""

    __slots__ = (
        "adapted",
        "arguments",
        "given",
        "is_alone",
        "is_committing",
        "mapper",
        "mappers",
        "parameters",
        "row_type",
        "statement",
        "wants_rows",
    )

    # The fast path sets these:
    # The statement, compiled.
    statement: DriverStatement
    # A tuple, or a dict if the driver takes parameters by name.
    arguments: Any
    # Whether the statement runs in its own transaction, which the driver commits.
    is_alone: bool
    # Whether the statement has ended, and an error is one of its COMMIT or ROLLBACK.
    is_committing: bool
    # SQLAlchemy's adapter of the connection.
    adapted: Any
    # The mappers of the rows, by what identifies their columns: names and codes, or an id.
    mappers: dict[Any, RowMapper]
    # Maps the rows. The driver sets it: one of ``mappers``, or by ``add_mapper``.
    mapper: RowMapper

    def __init__(self, statement: Any, parameters: Any, row_type: Any, *, wants_rows: bool) -> None:
        # What the application gave.
        self.given = statement
        self.parameters = parameters
        self.row_type = row_type
        # False for ``execute``, which returns the row count only.
        self.wants_rows = wants_rows

    def add_mapper(
        self,
        key: Any,
        columns: tuple[Column, ...],
        codes: Sequence[Any],
        driver: FastDriver,
        keep: object = None,
    ) -> None:
        """Make the mapper for columns that are new, before anything is final.

        :param key: identifies the columns: their names and codes, or what implies them.
        :param columns: their names and types, as the driver reports them.
        :param codes: the driver's type codes, for SQLAlchemy's conversions.
        :param keep: an object that lives as long as the mapper, because its id is the key.
        :raises RowShapeError: the columns do not fit the row type; or only SQLAlchemy can read
            them, and the statement has been run, so that it must not be run again.
        :raises NeedsSlowPath: only SQLAlchemy can read them, and the driver describes first.
        """
        try:
            map_rows = make_map_rows(
                driver.dialect, self.statement, self.row_type, columns, codes, driver.family
            )
        except NeedsSlowPath as reason:
            if driver.describes_first:
                raise
            raise RowShapeError(f"{reason}; {_READ_WITH_SQLALCHEMY}") from None
        if len(self.mappers) >= _MAX_MAPPERS:
            self.mappers.clear()
        self.mapper = self.mappers[key] = RowMapper(map_rows, keep)


class FastDriver(Protocol):
    """What the fast path needs of a driver, for one engine."""

    # SQLAlchemy's dialect of the engine.
    dialect: Any
    # The database, as ``mapping.dbtypes`` names it: "postgresql", "sqlite", "mysql".
    family: str
    # Whether the columns are known before a statement is executed.
    describes_first: bool

    def may_run_alone(self, statement: DriverStatement) -> bool:
        """Whether this statement may run in a transaction of its own as the driver makes it.

        The answer must not change: it is asked once for each statement.
        """
        ...

    def is_default(self, call: Call) -> bool:
        """Whether the state and the settings of ``call.adapted`` are those the driver expects."""
        ...

    def run(self, call: Call) -> Awaitable[Any]:
        """Run the statement; alone, commit it.

        Columns that do not fit the row type are refused before anything is final: alone, the
        driver undoes what the statement has done.

        :return: the rows as sequences of values, with ``call.mapper`` set; for ``execute``
            the row count, -1 if it is unknown.
        :raises RowShapeError: the columns do not fit the row type.
        :raises NeedsSlowPath: the statement has not been run.
        :raises Exception: the driver's error.
        """
        ...

    def may_keep_settings(self, call: Call) -> bool:
        """Whether a failed call may have left settings that no rollback undoes."""
        ...
