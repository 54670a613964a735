"""Statements that SQLAlchemy has compiled for an engine, ready for its driver.

``fetch`` runs them; for the checker see ``compiling``. The code follows
``Connection._execute_clauseelement`` of SQLAlchemy 2.0.58 and 2.1.9. It leaves every
statement to SQLAlchemy that needs more than one plain string of SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy.engine import Engine
from sqlalchemy.sql.compiler import WARN_LINTING, SQLCompiler
from sqlalchemy.sql.elements import ClauseElement, TextClause

MakeArguments: TypeAlias = "Callable[[Mapping[str, Any] | None], tuple[Any, ...]]"


class DriverStatement:
    """A compiled statement, and the function that makes the driver's arguments for it."""

    __slots__ = ("arguments", "is_cached", "mappers", "may_write", "result_columns", "sql")

    def __init__(
        self, compiled: Any, arguments: MakeArguments, result_columns: Sequence[Any]
    ) -> None:
        self.sql: str = compiled.string
        # SQLAlchemy does not report whether a common table expression writes
        self.may_write = bool(
            compiled.isinsert or compiled.isupdate or compiled.isdelete or compiled.ctes
        )
        self.is_cached: bool = compiled.cache_key is not None
        # The mappers of its rows. They live as long as SQLAlchemy keeps the statement.
        self.mappers: dict[Any, Any] = compiled.__dict__.setdefault("_typedpool_mappers", {})
        # parameters -> the arguments for the driver. It raises an exception of any type if a
        # parameter is missing or wrong. SQLAlchemy then has to run the statement, so that its
        # own error is raised.
        self.arguments = arguments
        # SQLAlchemy's entries (keyname, name, objects, type); empty for text.
        self.result_columns = result_columns


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
            return DriverStatement(compiled, _by_name(tuple(compiled.positiontup)), columns)
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
        and compiled.positiontup is not None
        and not compiled.post_compile_params
        and not compiled.literal_execute_params
        and not compiled.schema_translate_map
        and not compiled.insert_prefetch
        and not compiled.update_prefetch
        and not compiled._textual_ordered_columns
        and not compiled.implicit_returning
        and (compiled.isplaintext or compiled._ordered_columns)
    )


def _by_name(names: tuple[str, ...]) -> MakeArguments:
    """For text whose parameters are all required and have no type."""

    def arguments(parameters: Mapping[str, Any] | None) -> tuple[Any, ...]:
        return tuple([parameters[name] for name in names]) if names else ()  # type: ignore[index]

    return arguments


def _by_sqlalchemy(compiled: Any, extracted: Any, collected: dict[str, Any]) -> MakeArguments:
    """For a statement that contains values, or whose parameters have types."""
    processors, names = compiled._bind_processors, tuple(compiled.positiontup)

    def arguments(parameters: Mapping[str, Any] | None) -> tuple[Any, ...]:
        values = compiled.construct_params(
            parameters, extracted_parameters=extracted, escape_names=False, **collected
        )
        return tuple(
            [
                processors[name](values[name]) if name in processors else values[name]
                for name in names
            ]
        )

    return arguments
