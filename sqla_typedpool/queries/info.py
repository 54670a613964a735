"""The description of a declared query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Executable, TextClause

from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.mapping.deferred import python_signature
from sqla_typedpool.queries.annotation import DeferredAnnotation, Unresolved, allows_none
from sqla_typedpool.queries.returns import Cardinality, NotReturnable, Returns, returns_of


@dataclass(frozen=True)
class Bind:
    """One parameter of a query."""

    name: str
    """Its name."""
    annotation: Any
    """Its type."""
    is_optional: bool
    """Whether it may be None."""


@dataclass(frozen=True)
class Origin:
    """Where a query is declared."""

    file: Path
    """The Python file."""
    line: int
    """The line of the decorator."""
    sql_file: Path | None = None
    """The file that contains the SQL; None = the SQL is in ``file``."""
    sql_name: str | None = None
    """The name of the query in ``sql_file``; None = the whole file is the query."""


@dataclass(frozen=True, eq=False, repr=False)
class QueryInfo:
    """A declared query.

    Annotations may use names that are defined later. The attributes that depend on them are
    computed at the first access, and raise `DeclarationError` if a name is not defined.
    """

    function: Callable[..., Any]
    """The decorated function; its body is never run."""
    statement: Executable
    """The statement that is run."""
    sql: str
    """The text that the author wrote; for a Core statement, SQLAlchemy's text of it."""
    is_async: bool
    """Whether it is an ``async def``. A query that returns a stream is not."""
    origin: Origin
    """Where it is declared."""
    timeout: float | None
    """Seconds for each call; None = no limit."""
    annotations: Mapping[str, DeferredAnnotation]
    """The annotations of its parameters, in their order, and ``"return"``."""
    lists: tuple[str, ...] = ()
    """The parameters directly after ``IN`` in its text, each of which takes a list."""

    @cached_property
    def name(self) -> str:
        """The module and qualified name: ``app.users.Repo.get_user``."""
        return name_of(self.function)

    @property
    def is_text(self) -> bool:
        """Whether the author wrote SQL text."""
        return isinstance(self.statement, TextClause)

    @property
    def module(self) -> str:
        """The name of the module."""
        return self.function.__module__

    @cached_property
    def bind_names(self) -> tuple[str, ...]:
        """The names of the query's parameters, in the order of the signature."""
        return tuple(name for name in self.annotations if name != "return")

    def __repr__(self) -> str:
        return f"<query {self.name} at {self.origin.file}:{self.origin.line}>"

    @cached_property
    def binds(self) -> tuple[Bind, ...]:
        """The query's parameters, in the order of the signature.

        :raises DeclarationError: an annotation uses a name that is not defined.
        """
        return tuple(map(self._bind, self.bind_names))

    def _bind(self, name: str) -> Bind:
        annotation = self._resolve(name, f"the annotation of {name}")
        default = python_signature(self.function).parameters[name].default
        return Bind(name, annotation, default is None or allows_none(annotation))

    @property
    def cardinality(self) -> Cardinality:
        """How many rows the query returns.

        :raises DeclarationError: the return annotation uses a name that is not defined, or
            no query can return its type.
        """
        return self._returns.cardinality

    @property
    def row_type(self) -> Any:
        """The type of each row; None if the query returns no rows.

        :raises DeclarationError: as for ``cardinality``.
        """
        return self._returns.row_type

    @cached_property
    def _returns(self) -> Returns:
        annotation = self._resolve("return", "the return annotation")
        try:
            return returns_of(annotation, is_async=self.is_async)
        except NotReturnable as error:
            raise self.error(str(error)) from error

    def _resolve(self, name: str, what: str) -> Any:
        try:
            return self.annotations[name].resolve()
        except Unresolved as error:
            raise self.error(f"{what} {error}") from error

    def error(self, *faults: str) -> DeclarationError:
        """Create an error that names the query and the place of its declaration."""
        return DeclarationError(self.name, self.origin.file, self.origin.line, *faults)


def name_of(function: Callable[..., Any]) -> str:
    """Return the module and qualified name of a function."""
    return f"{function.__module__}.{function.__qualname__}"
