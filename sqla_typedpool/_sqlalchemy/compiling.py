"""A statement as it is sent, compiled without a database and without values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Dialect, Executable, TypeDecorator
from sqlalchemy.dialects.mysql import aiomysql
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.dialects.sqlite import aiosqlite
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.types import UserDefinedType

__all__ = ["Entry", "Place", "Sent", "dialect_of", "sent"]

_DIALECTS: dict[str, Any] = {
    "postgresql": asyncpg.dialect,  # $1, which PREPARE and the server's functions take as well
    "sqlite": aiosqlite.dialect,
    "mysql": aiomysql.dialect,
}


# Types by which a value that is there may be sent as NULL, or read as None.
_MAKE_NONE = (JSON, TypeDecorator, UserDefinedType)


@dataclass(frozen=True)
class Place:
    """One parameter of the sent text: ``$2``, or the second ``?``."""

    name: str
    """The bind that fills it; several places may have the same one (``?``, ``%s``)."""
    is_required: bool
    """False: the statement brings a value of its own, as ``where(x == 5)`` does."""
    is_expanding: bool
    """Whether a list fills it: ``IN :ids``. It is compiled as a list of one."""
    is_processed: bool
    """Whether SQLAlchemy converts the value, by the bind's type."""
    is_never_null: bool
    """Whether the value that the statement brings is surely none that arrives as NULL."""


@dataclass(frozen=True)
class Entry:
    """One column of a Core statement's result, as SQLAlchemy knows it."""

    name: str
    kind: Any
    """SQLAlchemy's type."""
    dialect: Any

    @property
    def is_json(self) -> bool:
        return isinstance(self.kind, JSON)

    @property
    def may_make_none(self) -> bool:
        """Whether a value that is not NULL may be read as None: JSON's null, own types."""
        return isinstance(self.kind, _MAKE_NONE)

    def is_processed(self, code: Any) -> bool:
        """Whether SQLAlchemy converts values of this type code (PostgreSQL: OID)."""
        return self.kind._cached_result_processor(self.dialect, code) is not None


@dataclass(frozen=True)
class Sent:
    """A statement as the database gets it."""

    sql: str
    places: tuple[Place, ...]
    """One per placeholder of the SQL; PostgreSQL's ``$n`` is ``places[n - 1]``."""
    entries: tuple[Entry, ...]
    """Of a Core statement; () for text, whose columns only the database knows."""
    is_text: bool

    @property
    def never_null(self) -> frozenset[str]:
        """The names of values that the statement brings, and that are not NULL."""
        return frozenset(place.name for place in self.places if place.is_never_null)


def dialect_of(family: str) -> Dialect:
    """SQLAlchemy's dialect for ``"postgresql"``, ``"sqlite"`` or ``"mysql"``, no driver needed."""
    dialect: Dialect = _DIALECTS[family]()
    return dialect


def sent(statement: Executable, family: str, keys: Iterable[str] = ()) -> Sent:
    """Compile a statement as the family's first driver would send it.

    :param statement: text or a Core statement; a ``str`` is the caller's to wrap.
    :param keys: names of the parameters that will be given: they decide which columns a
        bare ``insert(table)`` or ``update(table)`` sets.
    :raises sqlalchemy.exc.CompileError: it cannot be compiled for this database.
    """
    dialect = dialect_of(family)
    if isinstance(statement, ExecutableDDLElement):
        raise CompileError(f"{type(statement).__name__} has neither parameters nor rows")
    anything: Any = statement
    keys = frozenset(keys)
    compiled = anything.compile(dialect=dialect, column_keys=sorted(keys) or None)
    state = compiled.construct_expanded_state(
        {name: [None] if bind.expanding else None for name, bind in compiled.binds.items()}
    )
    origins = {part: name for name, parts in state.parameter_expansion.items() for part in parts}
    names = [origins.get(name, name) for name in state.positiontup or ()]
    places = (_place(compiled, name, is_given=name in keys) for name in names)
    is_text = compiled.isplaintext
    columns = () if is_text else compiled._result_columns
    entries = tuple(Entry(each.keyname, each.type, dialect) for each in columns)
    return Sent(state.statement, tuple(places), entries, is_text)


def _place(compiled: Any, name: str, *, is_given: bool) -> Place:
    bind = compiled.binds[name]
    is_own = not (bind.required or is_given or bind.callable)
    return Place(
        name=bind.key if bind.required else name,
        is_required=bind.required,
        is_expanding=bind.expanding,
        is_processed=name in compiled._bind_processors,
        is_never_null=is_own and _is_there(bind.value) and not isinstance(bind.type, _MAKE_NONE),
    )


def _is_there(value: Any) -> bool:
    """Whether it is not None, nor has any in it: ``in_([1, None])``."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_there, value))
    return value is not None
