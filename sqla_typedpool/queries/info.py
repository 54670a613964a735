"""What is known of a declared query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.queries.annotation import DeferredAnnotation, Unresolved, allows_none
from sqla_typedpool.queries.returns import Cardinality, NotReturnable, Returns, returns_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Executable


@dataclass(frozen=True)
class Bind:
    """One parameter of a query."""

    name: str
    annotation: Any
    is_optional: bool
    """Whether it may be None."""


@dataclass(frozen=True)
class Origin:
    """Where a query is declared."""

    file: Path
    line: int
    """The line of the decorator."""
    sql_file: Path | None = None
    """The file of its SQL, if it has one of its own."""


@dataclass(frozen=True)
class QuerySource:
    """The SQL of a query."""

    statement: Executable
    sql: str
    """The text as it was written; of a Core statement, as SQLAlchemy prints it."""
    is_text: bool
    """Whether it is the author's own text."""
    given: str | Executable
    """What the ``fetch_*`` functions are given."""
    file: Path | None = None
    """Where it was read from."""


class QueryInfo:
    """A declared query.

    Annotations may name what is defined further down. What depends on them is found out
    when it is asked for, and raises `DeclarationError` where it cannot be.
    """

    name: str
    """Module and qualified name: ``app.users.Repo.get_user``."""
    module: str
    function: Callable[..., Any]
    """As it was declared; its body is never run."""
    statement: Executable
    sql: str
    """The text as it was written; of a Core statement, as SQLAlchemy prints it."""
    is_text: bool
    """Whether the SQL is the author's own text."""
    bind_names: tuple[str, ...]
    is_async: bool
    """Whether it is an ``async def``; a stream is none."""
    origin: Origin
    timeout: float | None
    """Seconds for each call; None = no limit."""

    def __init__(
        self,
        function: Callable[..., Any],
        source: QuerySource,
        origin: Origin,
        annotations: Mapping[str, DeferredAnnotation],
        *,
        is_async: bool,
        timeout: float | None,
    ) -> None:
        """
        :param annotations: of its binds, in their order, and its ``"return"``.
        """
        self.name = name_of(function)
        self.module = function.__module__
        self.function = function
        self.statement = source.statement
        self.sql = source.sql
        self.is_text = source.is_text
        self.bind_names = tuple(name for name in annotations if name != "return")
        self.is_async = is_async
        self.origin = origin
        self.timeout = timeout
        self._annotations = annotations

    def __repr__(self) -> str:
        return f"<query {self.name} at {self.origin.file}:{self.origin.line}>"

    @cached_property
    def binds(self) -> tuple[Bind, ...]:
        """Its parameters, in the order of the signature.

        :raises DeclarationError: an annotation means nothing.
        """
        return tuple(map(self._bind, self.bind_names))

    def _bind(self, name: str) -> Bind:
        written = self._annotations[name]
        annotation = self._resolved(written, f"the annotation of {name}")
        is_optional = written.is_none_default or allows_none(annotation)
        return Bind(name, annotation, is_optional)

    @property
    def cardinality(self) -> Cardinality:
        """How many rows it has.

        :raises DeclarationError: the return annotation means nothing.
        """
        return self._returns.cardinality

    @property
    def row_type(self) -> Any:
        """What each row becomes; None of a query that returns no rows.

        :raises DeclarationError: the return annotation means nothing.
        """
        return self._returns.row_type

    @cached_property
    def _returns(self) -> Returns:
        annotation = self._resolved(self._annotations["return"], "the return annotation")
        try:
            return returns_of(annotation, is_async=self.is_async)
        except NotReturnable as error:
            raise self.error(str(error)) from error

    @property
    def is_resolved(self) -> bool:
        """Whether it is known already what it returns."""
        return self._annotations["return"].is_resolved

    def _resolved(self, written: DeferredAnnotation, what: str) -> Any:
        try:
            return written.resolved()
        except Unresolved as error:
            raise self.error(f"{what} {error}") from error

    def error(self, *faults: str) -> DeclarationError:
        """An error that names the query and where it stands."""
        return DeclarationError(self.name, self.origin.file, self.origin.line, *faults)


def name_of(function: Callable[..., Any]) -> str:
    """Module and qualified name."""
    return f"{function.__module__}.{function.__qualname__}"
