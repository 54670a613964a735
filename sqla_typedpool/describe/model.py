"""The description of a statement: its parameters and columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from sqla_typedpool.describe.writes import ColumnWrite
from sqla_typedpool.mapping.dbtypes import DbType

# How a note begins if nothing is known about NULL, so that every column counts as nullable.
NULLABILITY_UNKNOWN = "nullability is unknown"

# A name for annotations: the classes below have a property `type`.
PythonType: TypeAlias = type[Any]


@dataclass(frozen=True)
class ParameterDescription:
    """One parameter of a statement."""

    name: str
    """The name of the bind parameter: ``user_id``."""

    db_type: DbType | None
    """The database type; None if the database does not report it."""

    is_list: bool = False
    """Whether a list of values is passed, as in ``IN :ids`` (an expanding parameter)."""

    is_processed: bool = False
    """Whether SQLAlchemy converts the value, so that its Python type is not known here."""

    @property
    def type(self) -> str | None:
        """The name of the database type: ``int8``."""
        return None if self.db_type is None else self.db_type.name


@dataclass(frozen=True)
class ColumnDescription:
    """One column of a statement's result."""

    name: str
    """The name in the result, with a ``!`` or ``?`` at its end if there is one."""

    db_type: DbType
    """The database type."""

    nullable: bool
    """Whether a value may be NULL; also True if that is not known."""

    why: str
    """The reason, in a few words: ``u.name is NOT NULL``."""

    origin: str | None = None
    """``schema.table.column`` if the value is that of a column, unchanged."""

    missing_with: str | None = None
    """The relation whose missing row (of an outer join) is the only reason for a NULL.

    Columns with the same relation are NULL in the same rows.
    """

    converted_by: str | None = None
    """The application's function that converts the values, and may return None for one.

    Such as ``Money.process_result_value()``. It is not set for a column that may be NULL anyway.
    """

    nullable_fields: tuple[str, ...] = ()
    """The fields of a composite value that may be NULL where the value itself is not."""

    @property
    def type(self) -> str:
        """The name of the database type: ``text[]``."""
        return self.db_type.name

    @property
    def python_type(self) -> PythonType | None:
        """The exact Python type of the values; None if it is not known or not always the same."""
        return self.db_type.python


@dataclass(frozen=True)
class Description:
    """What a database reports about a statement."""

    family: str
    """``"postgresql"``, ``"sqlite"`` or ``"mysql"``."""

    sql: str
    """The compiled SQL, with the placeholders of the family's first driver."""

    parameters: tuple[ParameterDescription, ...]
    """The parameters, in their order in the SQL."""

    columns: tuple[ColumnDescription, ...]
    """() if the statement returns no rows."""

    server: str = ""
    """The product and its major version: ``PostgreSQL 15``."""

    fingerprint: str = ""
    """A digest of the definitions (of tables, views, types) that the description depends on."""

    notes: tuple[str, ...] = ()
    """What could not be found out, and why; for example nullability on a read-only server."""

    writes: tuple[ColumnWrite, ...] | None = None
    """The values that it writes, as far as they matter to a check; None if that is unknown.

    Listed are the parameters that are written to a column, and the values that are or may be NULL
    in a column that must not be NULL. Values that a trigger, a rule or a foreign table may change
    are not listed. () if it writes nothing.
    """

    @property
    def is_nullability_known(self) -> bool:
        """Whether it is known which columns may be NULL; otherwise all count as nullable."""
        return not any(note.startswith(NULLABILITY_UNKNOWN) for note in self.notes)
