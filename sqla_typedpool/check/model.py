"""What the checker's rooms hand to each other: values, and the errors that stop a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

from sqla_typedpool.errors import TypedPoolError
from sqla_typedpool.mapping.delivered import Delivered

__all__ = [
    "CannotRun",
    "ColumnDescription",
    "Description",
    "Finding",
    "ParameterDescription",
    "Place",
    "Refused",
    "Severity",
]


PythonType: TypeAlias = type[Any]
"""`type` is taken by the column's own."""


@dataclass(frozen=True)
class ParameterDescription:
    """One bind of a statement, as the database understands it."""

    name: str
    """The bind's name: ``user_id``."""

    delivered: Delivered | None
    """The database type, whatever its values are in Python; None = it does not tell."""

    @property
    def type(self) -> str | None:
        """The database type as people write it: ``int8``."""
        return None if self.delivered is None else self.delivered.name

    is_list: bool = False
    """Whether a list of such values is passed: ``IN :ids``, expanding."""

    is_processed: bool = False
    """Whether SQLAlchemy converts the value, so that its Python type is not known here."""


@dataclass(frozen=True)
class ColumnDescription:
    """One column of a statement's result."""

    name: str
    """As the database sends it, or as SQLAlchemy names it; ``!`` and ``?`` included."""

    delivered: Delivered
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
        return self.delivered.name

    @property
    def python_type(self) -> PythonType | None:
        """The exact Python type of its values; None = it depends, or is not known."""
        return self.delivered.python


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


class Refused(TypedPoolError):
    """The database does not accept the statement; the run goes on with the next one."""

    message: str
    """The database's own words."""
    position: int | None
    """Where in the sent SQL, in characters from 0; None = it does not say."""
    hint: str
    """The next step, or ""."""
    code: str | None
    """SQLSTATE or the like."""

    def __init__(
        self, message: str, *, position: int | None = None, hint: str = "", code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.hint = hint
        self.code = code


class CannotRun(TypedPoolError):
    """The check cannot be done at all (exit code 2): one sentence, and the next step."""


class Severity(str, Enum):
    """How much a finding weighs."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Place:
    """Where something stands: a file, and if known a line and a column of it, from 1."""

    file: Path
    line: int | None = None
    column: int | None = None
    length: int = 1
    """How many characters are meant; they are underlined."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or worth a look."""

    code: str
    """``TP101``; `sqla_typedpool.check.codes` explains each."""
    severity: Severity
    message: str
    """One sentence: what is wrong, by name."""
    place: Place | None
    query: str | None = None
    """The declared query: ``app.users.get_user``."""
    reason: str = ""
    """Why the database says so."""
    hint: str = ""
    """The next step."""
    subject: str = ""
    """Which column or parameter it is about."""
    details: dict[str, str] = field(default_factory=dict, compare=False)
    """Further facts, for the JSON report."""
