"""The statement of a declared query: SQL text, a SQL file or a Core statement."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Executable, TextClause
from sqlalchemy.exc import SQLAlchemyError

from sqla_typedpool.queries.annotation import DeferredAnnotation
from sqla_typedpool.queries.parameter_lists import list_errors, text_with_lists
from sqla_typedpool.queries.returns import Cardinality
from sqla_typedpool.queries.sql_checks import line_of, sql_errors, undeclared_bind, unused_parameter
from sqla_typedpool.queries.sql_files import SqlFileError, SqlInFile, named_query, whole_file
from sqla_typedpool.statement import as_executable
from sqla_typedpool.tokens import list_binds

if TYPE_CHECKING:
    from sqla_typedpool._sqlalchemy.compiling import CompiledStatement

_FAMILIES = ("postgresql", "sqlite", "mysql")
_WITH_ROWS = (Cardinality.ONE, Cardinality.OPTIONAL, Cardinality.ALL, Cardinality.STREAM)


class StatementError(Exception):
    """A query has no usable statement. The message states why, and the next step."""


@dataclass(frozen=True)
class QuerySource:
    """The statement of a query."""

    statement: Executable
    # The text that the author wrote; for a Core statement, SQLAlchemy's text of it.
    sql: str
    # The statement in the form with which the ``fetch_*`` functions are called.
    fetch_argument: str | Executable
    # The SQL file that it was read from, with its name and first line there; None = no file.
    file: SqlInFile | None = None

    @property
    def first_line(self) -> int | None:
        """The line of the SQL in a file with several queries."""
        return None if self.file is None else self.file.line

    def list_errors(self, annotations: Mapping[str, DeferredAnnotation]) -> Iterator[str]:
        """Yield everything that is wrong with the declared types of the lists."""
        if self.lists:
            yield from list_errors(self.sql, annotations, line_of(self.sql, self.first_line))

    @property
    def lists(self) -> tuple[str, ...]:
        """The binds after ``IN`` that this package expands: those of SQL that is a str."""
        if not isinstance(self.fetch_argument, str):
            return ()
        return tuple(dict.fromkeys(each.name for each in list_binds(self.sql)))

    def with_lists(self, annotations: Mapping[str, DeferredAnnotation]) -> QuerySource:
        """Return the statement with expanding parameters after ``IN``."""
        if not self.lists:
            return self
        types = {name: annotations[name].resolve() for name in self.lists}
        statement = text_with_lists(self.sql, types)
        return replace(self, statement=statement, fetch_argument=statement)


def query_source(
    statement: Any, path: str | os.PathLike[str] | None, name: str | None, folder: Path
) -> QuerySource:
    """Return the statement of a query, which is given itself or as the path of a SQL file.

    :param name: the name of the query in a file with several queries.
    :param folder: the folder of the declaring file; a relative path starts there.
    :raises StatementError: there is no usable statement.
    """
    if (statement is None) == (path is None):
        raise StatementError(
            "query() needs SQL or a path, and not both; next: write query('SELECT ...') or "
            "query(path='file.sql')"
        )
    file = None
    if path is not None:
        file = _read_file(folder, path, name)
        statement = file.sql
    elif name is not None:
        raise StatementError(
            f"name={name!r} is a name in a SQL file, but there is no path; next: write "
            f"query(path='file.sql', name={name!r}), or remove the name"
        )
    if isinstance(statement, str):
        return QuerySource(as_executable(statement), statement, statement, file)
    if isinstance(statement, TextClause):
        return QuerySource(statement, statement.text, statement)
    if isinstance(statement, Executable):
        return QuerySource(statement, _to_sql(statement), statement)
    raise StatementError(
        f"query() needs SQL or a statement of SQLAlchemy, not {type(statement).__name__}; next: "
        "write @query('SELECT ...')"
    )


def _read_file(folder: Path, path: str | os.PathLike[str], name: str | None) -> SqlInFile:
    try:
        file = Path(os.path.normpath(folder / path)).absolute()
        return whole_file(file) if name is None else named_query(file, name)
    except SqlFileError as error:
        raise StatementError(str(error)) from error
    except UnicodeDecodeError as error:
        raise StatementError(
            f"{path} is not UTF-8 (byte {error.start} of the file); next: save it as UTF-8"
        ) from error
    except OSError as error:
        raise StatementError(
            f"{error.filename or path} cannot be read ({error.strerror or error}); next: write the "
            "path from the folder of the Python file"
        ) from error
    except (TypeError, ValueError) as error:
        raise StatementError(f"{path!r} is not a path ({error}); next: write a path") from error


def _to_sql(statement: Executable) -> str:
    try:
        return str(statement)
    except SQLAlchemyError as error:
        raise _not_compiled(error) from error


def _not_compiled(error: SQLAlchemyError) -> StatementError:
    return StatementError(f"SQLAlchemy cannot compile the statement: {error}")


def statement_errors(
    source: QuerySource, parameters: Collection[str], cardinality: Cardinality | None
) -> list[str]:
    """Return everything that is wrong with a statement and its parameters.

    :param parameters: the names of the function's binds.
    :param cardinality: how many rows the function returns; None = not known yet.
    :raises StatementError: SQLAlchemy cannot compile the statement.
    """
    if isinstance(source.statement, TextClause):
        is_str = isinstance(source.fetch_argument, str)
        optional = () if is_str else _binds_with_values(source.statement)
        return sql_errors(source.sql, parameters, optional, source.first_line)
    compiled = _compile(source.statement, parameters)
    required = {each.name: None for each in compiled.placeholders if each.is_required}
    known = {each.name for each in compiled.placeholders}
    errors = [undeclared_bind(name, parameters) for name in required if name not in parameters]
    errors += [unused_parameter(name) for name in parameters if name not in known]
    if cardinality in _WITH_ROWS and not compiled.is_text and not compiled.columns:
        errors.append(
            "the statement returns no rows; next: add .returning(...), or declare -> RowCount"
        )
    return errors


def _binds_with_values(statement: Executable) -> Collection[str]:
    """Return the names of the binds that have a value in the statement."""
    return {each.name for each in _compile(statement, ()).placeholders if not each.is_required}


def _compile(statement: Executable, parameters: Collection[str]) -> CompiledStatement:
    """Compile a statement for the first database family that supports it.

    :raises StatementError: no family supports it.
    """
    # Imports three dialects, which SQL text does not need.
    from sqla_typedpool._sqlalchemy.compiling import compile_statement

    failures: list[SQLAlchemyError] = []
    for family in _FAMILIES:
        try:
            return compile_statement(statement, family, parameters)
        except SQLAlchemyError as error:
            failures.append(error)
    raise _not_compiled(failures[0])
