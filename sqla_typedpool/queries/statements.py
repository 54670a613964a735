"""The SQL of a declared query: a text, a file, a Core statement."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Executable, TextClause
from sqlalchemy.exc import SQLAlchemyError

from sqla_typedpool.queries.info import QuerySource
from sqla_typedpool.queries.returns import Cardinality
from sqla_typedpool.queries.sql_checks import text_faults, unknown_bind, unused_parameter
from sqla_typedpool.statement import as_executable

if TYPE_CHECKING:
    from sqla_typedpool._sqlalchemy.compiling import CompiledStatement

_FAMILIES = ("postgresql", "sqlite", "mysql")
_WITH_ROWS = (Cardinality.ONE, Cardinality.OPTIONAL, Cardinality.ALL, Cardinality.STREAM)


class StatementError(Exception):
    """There is no SQL, and why."""


def source_of(statement: Any, path: str | os.PathLike[str] | None, folder: Path) -> QuerySource:
    """The SQL of a query.

    :param folder: where the declaring file is; a relative path starts there.
    :raises SourceFault: there is none.
    """
    if (statement is None) == (path is None):
        raise StatementError(
            "query() needs the SQL: query('SELECT ...') or query(path='file.sql')"
            if path is None
            else "query() takes the SQL or a path, not both"
        )
    if path is not None:
        sql, file = _read(folder, path)
        return QuerySource(as_executable(sql), sql, True, sql, file)
    if isinstance(statement, str):
        return QuerySource(as_executable(statement), statement, True, statement)
    if isinstance(statement, TextClause):
        return QuerySource(statement, statement.text, True, statement)
    if isinstance(statement, Executable):
        return QuerySource(statement, _printed(statement), False, statement)
    raise StatementError(
        f"query() takes SQL as str or a statement of SQLAlchemy, not {type(statement).__name__}"
        + ("; write @query(...) with the SQL in the brackets" if callable(statement) else "")
    )


def _read(folder: Path, path: str | os.PathLike[str]) -> tuple[str, Path]:
    try:
        file = Path(os.path.normpath(folder / path)).absolute()
        return file.read_text(encoding="utf-8-sig"), file
    except UnicodeDecodeError as error:
        raise StatementError(
            f"{path} is not UTF-8 (byte {error.start} of the file); save it as UTF-8"
        ) from error
    except OSError as error:
        raise StatementError(
            f"{error.filename or path} cannot be read ({error.strerror or error}); a relative "
            "path starts at the folder of the Python file"
        ) from error
    except (TypeError, ValueError) as error:
        raise StatementError(f"{path!r} is no path ({error})") from error


def _printed(statement: Executable) -> str:
    try:
        return str(statement)
    except SQLAlchemyError as error:
        raise StatementError(f"SQLAlchemy cannot compile the statement ({error})") from error


def source_faults(
    source: QuerySource, parameters: Collection[str], cardinality: Cardinality | None
) -> list[str]:
    """What is wrong with the SQL beside the function, told without a database.

    :param parameters: the names of the function's binds.
    :param cardinality: of the function; None = not known as yet.
    """
    if isinstance(source.statement, TextClause):
        given = () if isinstance(source.given, str) else _given(source.statement)
        return text_faults(source.sql, parameters, given)
    try:
        compiled = _compiled(source.statement, parameters)
    except SQLAlchemyError as error:
        return [f"SQLAlchemy cannot compile the statement: {error}"]
    required = {place.name: None for place in compiled.placeholders if place.is_required}
    known = {place.name for place in compiled.placeholders}
    faults = [unknown_bind(name, parameters) for name in required if name not in parameters]
    faults += [unused_parameter(name) for name in parameters if name not in known]
    if cardinality in _WITH_ROWS and not compiled.is_text and not compiled.columns:
        faults.append("the statement returns no rows; add .returning(...), or declare RowCount")
    return faults


def _given(statement: Executable) -> Collection[str]:
    """The binds that bring a value of their own."""
    places = _compiled(statement, ()).placeholders
    return {place.name for place in places if not place.is_required}


def _compiled(statement: Executable, parameters: Collection[str]) -> CompiledStatement:
    """Compiled for the first family that can.

    :raises SQLAlchemyError: none can.
    """
    # with it come three dialects, which text has no need of
    from sqla_typedpool._sqlalchemy.compiling import compile_statement

    failed: list[SQLAlchemyError] = []
    for family in _FAMILIES:
        try:
            return compile_statement(statement, family, parameters)
        except SQLAlchemyError as error:
            failed.append(error)
    raise failed[0]
