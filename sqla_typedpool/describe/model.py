"""What a database says of a statement: its parameters, its columns, and what is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from sqla_typedpool.mapping.dbtypes import DbType

PythonType: TypeAlias = type[Any]
"""`type` is taken by the column's own."""


@dataclass(frozen=True)
class ParameterDescription:
    """One bind of a statement, as the database understands it."""

    name: str
    """The bind's name: ``user_id``."""

    db_type: DbType | None
    """The database type, whatever its values are in Python; None = it does not tell."""

    @property
    def type(self) -> str | None:
        """The database type as people write it: ``int8``."""
        return None if self.db_type is None else self.db_type.name

    is_list: bool = False
    """Whether a list of such values is passed: ``IN :ids``, expanding."""

    is_processed: bool = False
    """Whether SQLAlchemy converts the value, so that its Python type is not known here."""


@dataclass(frozen=True)
class ColumnDescription:
    """One column of a statement's result."""

    name: str
    """As the database sends it, or as SQLAlchemy names it; ``!`` and ``?`` included."""

    db_type: DbType
    """The database type and what its values arrive as."""

    nullable: bool
    """False only where it is certain; unknown = True."""

    why: str
    """In a few words: ``u.name is NOT NULL``, ``p may be missing (LEFT JOIN)``."""

    origin: str | None = None
    """``schema.table.column`` where it is a column and nothing else."""

    missing_with: str | None = None
    """The relation whose missing row (outer join) is the only reason for a NULL: columns
    with the same one are NULL together."""

    @property
    def type(self) -> str:
        """The database type as people write it: ``text[]``."""
        return self.db_type.name

    @property
    def python_type(self) -> PythonType | None:
        """The exact Python type of its values; None = it depends, or is not known."""
        return self.db_type.python


@dataclass(frozen=True)
class Description:
    """What a database says of a statement it has not run."""

    family: str
    """``"postgresql"``, ``"sqlite"`` or ``"mysql"``."""

    sql: str
    """As it was sent, with the placeholders of the family's first driver."""

    parameters: tuple[ParameterDescription, ...]
    columns: tuple[ColumnDescription, ...]
    """() = it returns no rows."""

    server: str = ""
    """Product and major version: ``PostgreSQL 15``."""

    fingerprint: str = ""
    """A digest of the catalogue entries it depends on; equal = nothing it uses has changed."""

    notes: tuple[str, ...] = ()
    """What could not be found out, and why: nullability on a read-only server, ..."""
