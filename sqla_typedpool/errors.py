"""What can go wrong, as one tree.

::

    TypedPoolError
    ├── PoolOptionError   (also sqlalchemy.exc.ArgumentError)
    ├── PoolTimeout       (also sqlalchemy.exc.TimeoutError)
    ├── PoolSaturated     (also sqlalchemy.exc.TimeoutError)
    ├── PoolClosed        (also sqlalchemy.exc.InvalidRequestError)
    ├── StatementTimeout  (also the built-in TimeoutError)
    ├── RowShapeError     the columns do not fit the row type
    ├── RowValueError     one value does not
    └── DeclarationError  (also TypeError) a function under ``@query`` cannot be what it says

The pool's are also the SQLAlchemy exceptions an application catches today, so
existing ``except`` clauses hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import exc

if TYPE_CHECKING:
    from sqla_typedpool.pool.holders import Holder

__all__ = [
    "DeclarationError",
    "PoolClosed",
    "PoolOptionError",
    "PoolSaturated",
    "PoolTimeout",
    "RowShapeError",
    "RowValueError",
    "StatementTimeout",
    "TypedPoolError",
]

_E = TypeVar("_E", bound=BaseException)

# SQLAlchemy's own "QueuePool limit reached" page; its advice fits ours too.
_TIMEOUT_CODE = "3o7r"


class TypedPoolError(Exception):
    """The root of everything this package raises on its own account."""


class PoolOptionError(TypedPoolError, exc.ArgumentError):
    """One or more pool options are wrong; the message names all of them."""


class PoolTimeout(TypedPoolError, exc.TimeoutError):
    """No connection was to be had within the deadline of one checkout.

    ``__cause__`` is the last connect error of the pool, if there was one since
    it last connected.
    """

    stage: str
    """What the checkout was waiting for when its time was over: ``"queueing"``
    (every connection is in use), ``"connecting"`` or ``"validating"``."""

    waited: float
    """Seconds the caller waited."""

    holders: Sequence[Holder]
    """Who holds the connections, longest first."""

    def __init__(
        self, message: str, *, stage: str, waited: float, holders: Sequence[Holder] = ()
    ) -> None:
        super().__init__(message, code=_TIMEOUT_CODE)
        self.stage = stage
        self.waited = waited
        self.holders = holders


class PoolSaturated(TypedPoolError, exc.TimeoutError):
    """More callers are waiting than ``pool_max_waiting`` allows; raised at once."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=_TIMEOUT_CODE)


class PoolClosed(TypedPoolError, exc.InvalidRequestError):
    """The pool was closed with ``TypedPool.close()`` and hands out nothing more."""


class StatementTimeout(TypedPoolError, TimeoutError):
    """A statement was not done within the ``timeout`` of its call, checkout included."""


class RowShapeError(TypedPoolError):
    """The columns do not fit the row type; raised before the first row is read."""

    faults: tuple[str, ...]
    """Everything that is wrong, a line each."""

    query: str | None = None
    """The declared query that was run, if it was one."""

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return self.faults[0] + (f" (query {self.query})" if self.query else "")
        query = f" in query {self.query}" if self.query else ""
        first = f"{len(self.faults)} faults{query}:"
        return "\n".join([first, *(f"- {each}" for each in self.faults)])


class RowValueError(TypedPoolError):
    """A value is not of the declared type. What it is stays out of the message.

    Copies and pickles come without ``value``.
    """

    row: int
    """The number of the row; 1 is the first."""

    column: str
    """The column's name as the database has sent it."""

    path: str
    """Where inside the value: ``$.items[3].price`` of JSON, ``[2]`` of an array, or ""."""

    expected: str
    found: str
    hint: str
    """The next step, or ""."""

    query: str | None = None
    """The declared query that was run, if it was one."""

    value: Any
    """What the column held: for a debugger, not for a log."""

    def __init__(
        self,
        row: int,
        column: str,
        expected: str,
        found: str,
        *,
        path: str = "",
        hint: str = "",
        value: Any = None,
    ) -> None:
        super().__init__(row, column, expected, found)
        self.row = row
        self.column = column
        self.expected = expected
        self.found = found
        self.path = path
        self.hint = hint
        self.value = value

    def __str__(self) -> str:
        place = f" at {self.path}" if self.path else ""
        query = f" (query {self.query})" if self.query else ""
        hint = f"; next: {self.hint}" if self.hint else ""
        return (
            f'row {self.row}, column "{self.column}"{place}: '
            f"expected {self.expected}, found {self.found}{query}{hint}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, {**self.__dict__, "value": None}


class DeclarationError(TypedPoolError, TypeError):
    """A function under ``@query`` and its SQL do not fit, or cannot be understood.

    Raised where it is declared. What an annotation means may be known only later, of names
    that are defined further down; then it is raised at the first call.
    """

    query: str
    """The declared query: ``app.users.get_user``."""

    file: Path
    line: int
    """Where the decorator stands."""

    faults: tuple[str, ...]
    """Everything that is wrong, a sentence each."""

    def __init__(self, query: str, file: Path, line: int, *faults: str) -> None:
        super().__init__(query, file, line, *faults)
        self.query = query
        self.file = file
        self.line = line
        self.faults = faults

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: query {self.query}"
        if len(self.faults) == 1:
            return f"{place}: {self.faults[0]}"
        first = f"{place} has {len(self.faults)} faults:"
        return "\n".join([first, *(f"- {each}" for each in self.faults)])


def copy_error(error: _E) -> _E:
    """Give each of many waiters an exception of its own.

    One exception object raised in many tasks shares, and grows, its traceback.
    An exception that cannot be copied is returned as it is.
    """
    kind = type(error)
    try:
        twin: Any = kind.__new__(kind, *error.args)
        twin.args = error.args
        twin.__dict__.update(error.__dict__)
    except Exception:  # noqa: BLE001 - its constructor may do anything
        return error
    twin.__cause__ = error.__cause__
    twin.__suppress_context__ = error.__suppress_context__
    done: _E = twin.with_traceback(error.__traceback__)
    return done
