"""Statements that SQLAlchemy has compiled for an engine, ready for its driver.

``fetch`` runs them; for the checker see ``compiling``. The code follows
``Connection._execute_clauseelement`` of SQLAlchemy 2.0.58 and 2.1.9. It leaves every
statement to SQLAlchemy that needs more than one plain string of SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy.engine import Engine
from sqlalchemy.sql.compiler import WARN_LINTING, SQLCompiler
from sqlalchemy.sql.elements import ClauseElement, TextClause

# a tuple, or a dict for a driver that takes parameters by name
Arguments: TypeAlias = "tuple[Any, ...] | dict[str, Any]"
MakeArguments: TypeAlias = "Callable[[Mapping[str, Any] | None], Arguments]"

_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)


class DriverStatement:
    """A compiled statement, and the function that makes the driver's arguments for it."""

    __slots__ = (
        "arguments",
        "is_cached",
        "mappers",
        "may_execute",
        "may_fetch",
        "may_fetch_undescribed",
        "may_write",
        "result_columns",
        "sql",
    )

    def __init__(
        self, compiled: Any, arguments: MakeArguments, result_columns: Sequence[Any]
    ) -> None:
        self.sql: str = compiled.string
        # SQLAlchemy does not report whether a common table expression writes
        self.may_write = bool(
            compiled.isinsert or compiled.isupdate or compiled.isdelete or compiled.ctes
        )
        self.is_cached: bool = compiled.cache_key is not None
        # The mappers of its rows, by row type. They live as long as SQLAlchemy keeps the statement.
        self.mappers: dict[Any, dict[Any, Any]] = compiled.__dict__.setdefault(
            "_typedpool_mappers", {}
        )
        # parameters -> the arguments for the driver. It raises an exception of any type if a
        # parameter is missing or wrong. SQLAlchemy then has to run the statement, so that its
        # own error is raised.
        self.arguments = arguments
        # SQLAlchemy's entries (keyname, name, objects, type); empty for text.
        self.result_columns = result_columns
        # Whether ``fetch_*`` may run it; SQLAlchemy discards the rows of implicit RETURNING.
        self.may_fetch = not compiled.implicit_returning
        # The same on a driver that reports the columns only when the statement has been executed.
        self.may_fetch_undescribed = self.may_fetch and _has_certain_columns(
            compiled, result_columns, may_write=self.may_write
        )
        # Whether ``execute`` may run it; the row count of RETURNING depends on the driver.
        self.may_execute = bool(compiled.implicit_returning) or not _RETURNING.search(self.sql)

    def fits(self, *, wants_rows: bool, describes_first: bool) -> bool:
        """Return whether the fast path may run it.

        :param wants_rows: False = the row count only.
        :param describes_first: whether the driver reports the columns before it executes.
        """
        if not wants_rows:
            return self.may_execute
        return self.may_fetch if describes_first else self.may_fetch_undescribed


def _has_certain_columns(compiled: Any, columns: Sequence[Any], *, may_write: bool) -> bool:
    """Return whether the columns that SQLAlchemy expects are those that the database returns.

    A statement must not be executed, refused and then executed again by SQLAlchemy. So those
    with a literal column, which may be ``*``, are not executed at all, nor those that write and
    return values that SQLAlchemy converts, as an error of a conversion undoes them there.
    """
    for entry in columns:
        if any(getattr(each, "is_literal", False) for each in entry.objects or ()):
            return False
        if may_write and entry.type._cached_result_processor(compiled.dialect, None):
            return False
    return True


def compile_for_driver(
    engine: Engine, statement: Any, keys: Sequence[str]
) -> DriverStatement | None:
    """Compile a statement through SQLAlchemy's cache.

    :param keys: the names of the parameters.
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
    if isinstance(statement, TextClause):
        columns: Sequence[Any] = ()
        if not compiled._bind_processors and all(
            bind.required for bind in statement._bindparams.values()
        ):
            return DriverStatement(compiled, _given(compiled), columns)
    else:
        columns = compiled._result_columns
    collected = {"_collected_params": rest[0]} if len(rest) == 2 else {}
    return DriverStatement(compiled, _by_sqlalchemy(compiled, extracted, collected), columns)


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


def _given(compiled: Any) -> MakeArguments:
    """For text whose parameters are all required and have no type."""
    if compiled.positional:
        return _by_position(tuple(compiled.positiontup))
    return _by_name(_names(compiled))


def _by_position(names: tuple[str, ...]) -> MakeArguments:
    def arguments(parameters: Mapping[str, Any] | None) -> tuple[Any, ...]:
        return tuple([parameters[name] for name in names]) if names else ()  # type: ignore[index]

    return arguments


def _by_name(names: Mapping[str, str]) -> MakeArguments:
    def arguments(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
        if not names:
            return {}
        return {key: parameters[name] for name, key in names.items()}  # type: ignore[index]

    return arguments


def _names(compiled: Any) -> dict[str, str]:
    """Return the names of the bind parameters, and those that the SQL has for them."""
    escaped = compiled.escaped_bind_names
    return {name: escaped.get(name, name) for name in compiled.bind_names.values()}


def _by_sqlalchemy(compiled: Any, extracted: Any, collected: dict[str, Any]) -> MakeArguments:
    """For a statement that contains values, or whose parameters have types."""
    processors = compiled._bind_processors

    def values(parameters: Mapping[str, Any] | None) -> Mapping[str, Any]:
        found: Mapping[str, Any] = compiled.construct_params(
            parameters, extracted_parameters=extracted, escape_names=False, **collected
        )
        return found

    def converted(name: str, value: Any) -> Any:
        return processors[name](value) if name in processors else value

    if not compiled.positional:
        keys = _names(compiled)

        def by_name(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
            return {
                keys[name]: converted(name, value) for name, value in values(parameters).items()
            }

        return by_name

    names = tuple(compiled.positiontup)

    def by_position(parameters: Mapping[str, Any] | None) -> tuple[Any, ...]:
        given = values(parameters)
        return tuple(
            [processors[name](given[name]) if name in processors else given[name] for name in names]
        )

    return by_position
