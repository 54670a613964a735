"""Statements that SQLAlchemy has compiled for an engine, ready for its driver.

``fetch`` runs them; for the checker see ``compiling``. The code follows
``Connection._execute_clauseelement`` of SQLAlchemy 2.0.58 and 2.1.9. It leaves every
statement to SQLAlchemy that needs more than one plain string of SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy.engine import Engine
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import WARN_LINTING, SQLCompiler
from sqlalchemy.sql.elements import ClauseElement, TextClause

# a tuple, or a dict for a driver that takes parameters by name
Arguments: TypeAlias = "tuple[Any, ...] | dict[str, Any]"
Parameters: TypeAlias = Any  # a dict, or None
MakeArguments: TypeAlias = "Callable[[Parameters], Arguments]"

_MAX_ROW_TYPES = 100  # of one statement; more only if an application makes them in a loop
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)
# the packages of the classes that SQLAlchemy's elements have as bases
_SQLALCHEMYS = {"sqlalchemy", "builtins", "typing", "typing_extensions"}


class Mappers(dict[Any, dict[Any, Any]]):
    """The mappers of a statement's rows: by row type, and then by what identifies the columns."""

    def __missing__(self, row_type: Any) -> dict[Any, Any]:
        if len(self) >= _MAX_ROW_TYPES:
            self.clear()
        added = self[row_type] = {}
        return added


class DriverStatement:
    """A compiled statement, and the function that makes the driver's arguments for it."""

    __slots__ = (
        "arguments",
        "is_cached",
        "mappers",
        "may_execute",
        "may_fetch",
        "may_run_alone",
        "may_write",
        "result_columns",
        "sql",
    )

    def __init__(
        self,
        compiled: Any,
        arguments: MakeArguments,
        result_columns: Sequence[Any],
        *,
        describes_first: bool,
    ) -> None:
        self.sql: str = compiled.string
        # SQLAlchemy does not report whether a common table expression writes
        self.may_write = bool(
            compiled.isinsert or compiled.isupdate or compiled.isdelete or compiled.ctes
        )
        self.is_cached: bool = compiled.cache_key is not None
        # They live as long as SQLAlchemy keeps the statement.
        self.mappers: Mappers = compiled.__dict__.setdefault("_typedpool_mappers", Mappers())
        # parameters -> the arguments for the driver. It raises an exception of any type if a
        # parameter is missing or wrong. SQLAlchemy then has to run the statement, so that its
        # own error is raised.
        self.arguments = arguments
        # SQLAlchemy's entries (keyname, name, objects, type); empty for text.
        self.result_columns = result_columns
        # Whether ``fetch_*`` may run it.
        self.may_fetch = not compiled.implicit_returning and (
            describes_first or self._has_certain_columns(compiled)
        )
        # Whether ``execute`` may run it.
        self.may_execute = _discards_rows(compiled)
        # Whether it may run in a transaction that the driver makes. The driver decides.
        self.may_run_alone = False

    def _has_certain_columns(self, compiled: Any) -> bool:
        """Return whether the columns that SQLAlchemy expects are those that the database returns.

        On a driver that reports them only afterwards, a statement must not be executed, refused,
        and executed again by SQLAlchemy. So those with a literal column, which may be ``*``, or
        with SQL that an application compiles are not executed at all, nor those that write and
        return values that SQLAlchemy converts, as an error of a conversion undoes them there.
        """
        if self.result_columns and _is_compiled_by_application(compiled.statement):
            return False
        for entry in self.result_columns:
            if any(_may_be_several(each) for each in entry.objects or ()):
                return False
            if self.may_write and _may_be_converted(entry.type, compiled.dialect):
                return False
        return True


def _may_be_several(element: Any) -> bool:
    """Return whether an object of a result column may be several columns."""
    if getattr(element, "is_literal", False):
        return True
    parts: Any = visitors.iterate(element) if isinstance(element, ClauseElement) else ()
    # within another element, as in literal_column("a, b").label("c")
    return any(
        _is_compiled_by_application(part)
        or (getattr(part, "is_literal", False) and "," in part.name)
        for part in parts
    )


def _is_compiled_by_application(element: Any) -> bool:
    """Return whether an application may determine the SQL of an element.

    It does with ``@compiles``, also for a class of SQLAlchemy, or with a class of its own.
    """
    kind = type(element)
    return hasattr(kind, "_compiler_dispatcher") or any(
        each.__module__.partition(".")[0] not in _SQLALCHEMYS for each in kind.__mro__
    )


def _discards_rows(compiled: Any) -> bool:
    """Return whether nothing but the row count is wanted of this statement.

    The row count of RETURNING depends on the driver. SQLAlchemy adds one itself to the INSERT of
    one row; it discards the values, but only after their conversion, which may raise an error.
    """
    if compiled.implicit_returning:
        return not any(
            _may_be_converted(column.type, compiled.dialect)
            for column in compiled.implicit_returning
        )
    return not _RETURNING.search(compiled.string)


def _may_be_converted(column_type: Any, dialect: Any) -> bool:
    """Return whether values of a type may be converted, for some type code of the driver."""
    try:
        if column_type._cached_result_processor(dialect, None) is not None:
            return True
    except Exception:  # noqa: BLE001 - Numeric on PostgreSQL: it depends on the code
        return True
    return _has_own_processor(column_type.dialect_impl(dialect))


def _has_own_processor(column_type: Any) -> bool:
    """Return whether an application makes the result processor. It may depend on the code."""
    inner = [getattr(column_type, name, None) for name in ("impl_instance", "item_type")]
    method = column_type.result_processor
    return getattr(method, "__module__", "").partition(".")[0] != "sqlalchemy" or any(
        _has_own_processor(each) for each in inner if each is not None and each is not column_type
    )


def compile_for_driver(
    engine: Engine, statement: Any, keys: Sequence[str], *, describes_first: bool
) -> DriverStatement | None:
    """Compile a statement through SQLAlchemy's cache.

    :param keys: the names of the parameters.
    :param describes_first: whether the driver reports the columns before it executes.
    :return: None if SQLAlchemy would not execute it as one plain string of SQL.
    """
    if not _is_executed_directly(statement):
        return None
    if statement._execution_options or statement._propagate_attrs:
        return None
    dialect = engine.dialect
    # 2.0 returns (compiled, extracted, hit), 2.1 (compiled, extracted, parameters, hit)
    compiled, extracted, *rest = statement._compile_w_cache(
        dialect=dialect,
        compiled_cache=engine._compiled_cache,
        column_keys=sorted(keys),
        for_executemany=False,
        schema_translate_map=None,
        linting=dialect.compiler_linting | WARN_LINTING,
    )
    if not _is_plain_string(compiled):
        return None
    make = partial(DriverStatement, compiled, describes_first=describes_first)
    if not isinstance(statement, TextClause):
        columns: Sequence[Any] = compiled._result_columns
    elif compiled._bind_processors or not all(
        bind.required for bind in statement._bindparams.values()
    ):
        columns = ()
    else:
        return make(_as_given(compiled), ())
    collected = {"_collected_params": rest[0]} if len(rest) == 2 else {}
    return make(_by_sqlalchemy(compiled, extracted, collected), columns)


def _is_executed_directly(statement: Any) -> bool:
    """Return False for a function, for DDL and for objects that SQLAlchemy does not execute."""
    method = getattr(type(statement), "_execute_on_connection", None)
    return method is ClauseElement._execute_on_connection and statement.supports_execution


def _is_plain_string(compiled: Any) -> bool:
    """Return whether SQLAlchemy sends one unchanged string and returns the rows unchanged."""
    return (
        isinstance(compiled, SQLCompiler)
        and (compiled.positiontup is not None or not compiled.positional)
        and not compiled.post_compile_params
        and not compiled.literal_execute_params
        and not compiled.schema_translate_map
        and not compiled.insert_prefetch
        and not compiled.update_prefetch
        and not compiled._textual_ordered_columns
        and (compiled.isplaintext or compiled._ordered_columns)
    )


def _as_given(compiled: Any) -> MakeArguments:
    """For text whose parameters are all required and have no type."""
    if compiled.positional:
        names = tuple(compiled.positiontup)

        def by_position(parameters: Parameters) -> tuple[Any, ...]:
            return tuple(map(parameters.__getitem__, names)) if names else ()

        return by_position

    escaped = _escaped_names(compiled)

    def by_name(parameters: Parameters) -> dict[str, Any]:
        return {key: parameters[name] for name, key in escaped} if escaped else {}

    return by_name


def _by_sqlalchemy(compiled: Any, extracted: Any, collected: dict[str, Any]) -> MakeArguments:
    """For a statement that contains values, or whose parameters have types."""
    values = partial(
        compiled.construct_params, extracted_parameters=extracted, escape_names=False, **collected
    )
    processors = compiled._bind_processors
    if compiled.positional:
        names = tuple(compiled.positiontup)

        def by_position(parameters: Parameters) -> tuple[Any, ...]:
            given = values(parameters)
            return tuple(
                [
                    processors[name](given[name]) if name in processors else given[name]
                    for name in names
                ]
            )

        return by_position

    escaped = _escaped_names(compiled)

    def by_name(parameters: Parameters) -> dict[str, Any]:
        given = values(parameters)
        return {
            key: processors[name](given[name]) if name in processors else given[name]
            for name, key in escaped
        }

    return by_name


def _escaped_names(compiled: Any) -> list[tuple[str, str]]:
    """Return each name of a bind parameter, with the name that the SQL has for it."""
    escaped = compiled.escaped_bind_names
    return [(name, escaped.get(name, name)) for name in compiled.bind_names.values()]
