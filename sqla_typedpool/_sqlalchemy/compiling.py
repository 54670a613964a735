"""Statements compiled for the checker, without a database and without values.

For statements that ``fetch`` runs see ``driver_statement``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from sqlalchemy import ARRAY, JSON, Dialect, Executable, Insert, PickleType
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql import aiomysql
from sqlalchemy.dialects.postgresql import HSTORE, Range, asyncpg
from sqlalchemy.dialects.postgresql.ranges import (
    AbstractMultiRange,
    AbstractSingleRange,
    MultiRange,
)
from sqlalchemy.dialects.sqlite import aiosqlite
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import ExecutableDDLElement

from sqla_typedpool._sqlalchemy.null_conversions import ConversionHook, has_bind_hook, result_hook

_DIALECTS: dict[str, Any] = {
    "postgresql": asyncpg.dialect,  # writes $1, which PREPARE and SQL functions accept too
    "sqlite": aiosqlite.dialect,
    "mysql": aiomysql.dialect,
}

# What SQLAlchemy's types read of asyncpg's module, which need not be installed.
_ASYNCPG = SimpleNamespace(
    asyncpg=SimpleNamespace(Range=object, BitString=object), Binary=memoryview
)


@dataclass(frozen=True)
class Placeholder:
    """One placeholder of the compiled SQL: ``$2``, or the second ``?``."""

    # The name of the bind parameter. Several ``?`` or ``%s`` may have the same name.
    name: str

    # False if the statement contains the value, as ``where(x == 5)`` does.
    is_required: bool

    # Whether it takes a list, as in ``IN :ids``. It is compiled for a list of one value.
    is_expanding: bool

    # Whether that list may be empty, which changes what a condition excludes.
    may_be_empty: bool

    # Whether SQLAlchemy converts the value, because of the bind parameter's type.
    is_processed: bool

    # Whether the statement contains the value, and the value cannot be sent as NULL.
    is_never_null: bool

    # Whether an application's own type converts the value, which may then be sent as NULL.
    has_own_type: bool

    # Whether None is sent as NULL. False for JSON, which sends it as ``'null'`` unless the column
    # is declared otherwise, and for an application's own type, for which it is not known.
    none_is_null: bool

    # Whether the statement contains None as the value.
    is_none: bool

    # Whether the value is computed when the statement runs: by ``Column(default=...)``,
    # ``onupdate`` or ``bindparam(callable_=...)``.
    is_computed: bool


@dataclass(frozen=True)
class ResultColumn:
    """One result column of a Core statement."""

    name: str
    # The SQLAlchemy type of the column.
    kind: Any
    dialect: Any

    @property
    def is_json(self) -> bool:
        return isinstance(self.kind, JSON)

    @property
    def hook(self) -> ConversionHook | None:
        """The function of an application's type that converts the values, if there is one."""
        return result_hook(self.kind, self.dialect)

    @property
    def python_type(self) -> type | None:
        """The class of the values that SQLAlchemy's own type makes; None for any other type."""
        return None if self.hook is not None else _python_type(self.kind)

    @property
    def element(self) -> ResultColumn | None:
        """The elements of an array; None for other types."""
        item = self.kind.item_type if isinstance(self.kind, ARRAY) else None
        return None if item is None else ResultColumn(self.name, item, self.dialect)

    def is_processed(self, code: Any) -> bool:
        """Return whether SQLAlchemy converts values of this type code (PostgreSQL: OID)."""
        return self.kind._cached_result_processor(self.dialect, code) is not None


@dataclass(frozen=True)
class CompiledStatement:
    """A compiled statement: the SQL, its placeholders and its result columns."""

    sql: str
    # One for each placeholder of the SQL. PostgreSQL's ``$n`` is ``placeholders[n - 1]``.
    placeholders: tuple[Placeholder, ...]

    # The columns of a Core statement; () for text, whose columns only the database can report.
    columns: tuple[ResultColumn, ...]
    is_text: bool

    @property
    def never_null(self) -> frozenset[str]:
        """The names of the values that the statement contains and that cannot be NULL."""
        return frozenset(each.name for each in self.placeholders if each.is_never_null)

    @property
    def own_types(self) -> frozenset[str]:
        """The names of the parameters that an application's own type may send as NULL."""
        return frozenset(each.name for each in self.placeholders if each.has_own_type)


# SQLAlchemy's types whose `python_type` is missing, or is not that of the result.
_RESULT_TYPES: tuple[tuple[Any, type | None], ...] = (
    (PickleType, None),
    (AbstractSingleRange, Range),
    (AbstractMultiRange, MultiRange),
    (HSTORE, dict),
    (mysql.BIT, int),
    (mysql.SET, set),
)


def _python_type(kind: Any) -> type | None:
    """Return the class of the values of a SQLAlchemy type; None if it is not always the same."""
    if not type(kind).__module__.startswith("sqlalchemy."):
        return None
    for each, python in _RESULT_TYPES:
        if isinstance(kind, each):
            return python
    if isinstance(kind, ARRAY) and kind.as_tuple:
        return tuple
    try:
        found: type = kind.python_type
    except NotImplementedError:
        return None
    return None if found is object else found


def dialect_of(family: str) -> Dialect:
    """Return SQLAlchemy's dialect for a database. It works without the driver.

    :param family: ``"postgresql"``, ``"sqlite"`` or ``"mysql"``.
    """
    dialect: Any = _DIALECTS[family]()
    if family == "postgresql":
        dialect.dbapi = _ASYNCPG
    found: Dialect = dialect
    return found


def compile_statement(
    statement: Executable, family: str, keys: Iterable[str] = ()
) -> CompiledStatement:
    """Compile a statement with SQLAlchemy's dialect for a database.

    :param statement: a ``text()`` or a Core statement, not a ``str``.
    :param family: ``"postgresql"``, ``"sqlite"`` or ``"mysql"``.
    :param keys: the names of the parameters that a call passes. An ``insert(table)`` or
        ``update(table)`` without ``values()`` sets these columns.
    :raises sqlalchemy.exc.CompileError: the statement cannot be compiled for this database.
    """
    dialect = dialect_of(family)
    if isinstance(statement, ExecutableDDLElement):
        raise CompileError(f"{type(statement).__name__} has neither parameters nor rows")
    element: Any = _without_own_returning(statement)
    keys = frozenset(keys)
    try:
        compiled = element.compile(dialect=dialect, column_keys=sorted(keys) or None)
    except TypeError as error:  # mysql.SET raises it for the dialects of other databases
        raise CompileError(f"a type is not one of {dialect.name}: {error}") from error
    state = compiled.construct_expanded_state(
        {name: [None] if bind.expanding else None for name, bind in compiled.binds.items()}
    )
    origins = {part: name for name, parts in state.parameter_expansion.items() for part in parts}
    names = [origins.get(name, name) for name in state.positiontup or ()]
    computed = _computed(compiled)
    placeholders = (
        _placeholder(compiled, name, is_given=name in keys, is_computed=name in computed)
        for name in names
    )
    is_text = compiled.isplaintext
    entries = () if is_text else compiled._result_columns
    columns = tuple(ResultColumn(each.keyname, each.type, dialect) for each in entries)
    return CompiledStatement(state.statement, tuple(placeholders), columns, is_text)


def _without_own_returning(statement: Executable) -> Executable:
    """Return an INSERT to which SQLAlchemy adds no RETURNING for the primary key.

    A call does not get those columns.
    """
    if isinstance(statement, Insert) and not statement.returning_column_descriptions:
        return statement.inline()
    return statement


def _computed(compiled: Any) -> frozenset[str]:
    """Return the names of the values that the defaults of columns compute, in Python."""
    columns = [*compiled.insert_prefetch, *compiled.update_prefetch]
    if not columns:
        return frozenset()
    return frozenset(map(compiled._within_exec_param_key_getter, columns))


def _placeholder(compiled: Any, name: str, *, is_given: bool, is_computed: bool) -> Placeholder:
    bind = compiled.binds[name]
    is_computed = is_computed or bool(bind.callable)
    is_own = not (bind.required or is_given or is_computed)
    has_own_type = has_bind_hook(bind.type, compiled.dialect)
    return Placeholder(
        name=bind.key if bind.required else name,
        is_required=bind.required,
        is_expanding=bind.expanding,
        may_be_empty=bind.expanding and not (is_own and bool(bind.value)),
        is_processed=name in compiled._bind_processors,
        # JSON.NULL and null() are values of JSON
        is_never_null=is_own
        and _has_no_none(bind.value)
        and not (has_own_type or isinstance(bind.type, JSON)),
        has_own_type=has_own_type,
        none_is_null=not has_own_type and _sends_null(compiled._bind_processors.get(name)),
        is_none=is_own and bind.value is None,
        is_computed=is_computed,
    )


def _sends_null(processor: Any) -> bool:
    """Return whether a conversion of SQLAlchemy sends None as NULL.

    :param processor: its function; for the columns of a list, a tuple of them.
    """
    return processor is None or (callable(processor) and processor(None) is None)


def _has_no_none(value: Any) -> bool:
    """Return whether it is not None, and no list that contains None: ``in_([1, None])``."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_has_no_none, value))
    return value is not None
