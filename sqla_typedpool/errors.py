"""The exceptions of this package.

::

    TypedPoolError
    ├── PoolOptionError   a pool option is wrong (also sqlalchemy.exc.ArgumentError)
    ├── PoolTimeout       a checkout exceeded pool_timeout (also sqlalchemy.exc.TimeoutError)
    ├── PoolSaturated     too many callers are waiting (also sqlalchemy.exc.TimeoutError)
    ├── PoolClosed        the pool is closed (also sqlalchemy.exc.InvalidRequestError)
    ├── StatementTimeout  a call exceeded its timeout (also the built-in TimeoutError)
    ├── RowShapeError     the columns do not fit the row type
    ├── RowValueError     a value does not have the declared type
    ├── DeclarationError  a function decorated with @query is wrong (also TypeError)
    ├── CannotRun         a command, a check or a description is not possible
    │   └── DescribeTimeout   the database did not describe a statement in time
    ├── Refused           the database does not accept a statement
    └── SnapshotError     a snapshot cannot be used

The pool's errors are subclasses of the SQLAlchemy exceptions that applications already
catch, so existing ``except`` clauses still work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import exc

__all__ = [
    "CannotRun",
    "DeclarationError",
    "DescribeTimeout",
    "Holder",
    "PoolClosed",
    "PoolOptionError",
    "PoolSaturated",
    "PoolTimeout",
    "Refused",
    "RowShapeError",
    "RowValueError",
    "SnapshotError",
    "StatementTimeout",
    "TypedPoolError",
    "copy_error",
]

_E = TypeVar("_E", bound=BaseException)


@dataclass(frozen=True)
class Holder:
    """A task that holds a connection, as a report shows it.

    Example::

        for holder in TypedPool.of(engine).holders():
            print(f"{holder.task} for {holder.seconds:.1f} s at {holder.where}")
    """

    task: str
    """The name of the asyncio task that checked the connection out; "?" if there was none."""
    seconds: float
    """How long it has held the connection, in seconds."""
    where: str | None
    """A place in the application, as ``file:line in function``.

    With ``pool_leak_threshold`` it is the line of the checkout, otherwise the line the
    task is at now. If that line calls a declared query, it is the line of the call, not
    of the declaration. None if it is not known, as in a task that was created from a
    query's coroutine (``create_task(get_user(db))``).
    """
    label: str | None = None
    """The label of the ``holder_label`` block around the checkout; None if there was none."""
    query: str | None = None
    """The name of the declared query that the line ``where`` calls, such as
    ``app.users.get_user``; None if it calls no declared query."""

    @property
    def name(self) -> str:
        """The label and the task, or the task alone."""
        return self.task if self.label is None else f"{self.label} ({self.task})"

    def __str__(self) -> str:
        query = f" in query {self.query}" if self.query else ""
        place = f" at {self.where}" if self.where else ""
        return f"{self.name} for {self.seconds:.1f} s{query}{place}"


class TypedPoolError(Exception):
    """The base class of all exceptions that this package defines."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle it with all attributes; ``__init__`` may need more than ``args``."""
        return _restore, (type(self), self.args, self.__dict__)


def _restore(error_type: type[_E], args: tuple[Any, ...], state: dict[str, Any]) -> _E:
    error = error_type.__new__(error_type, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class PoolOptionError(TypedPoolError, exc.ArgumentError):
    """One or more pool options are wrong; the message names all of them."""

    faults: tuple[str, ...] = ()
    """A sentence about each wrong option."""


class PoolTimeout(TypedPoolError, exc.TimeoutError):
    """A checkout did not get a connection within ``pool_timeout``.

    The message is one line: the pool's name, the time, the stage, the numbers of the pool, the
    longest holders, a nested checkout, the last connect error, and what to do next. Nothing
    has been sent to the database, so the work may be tried again.

    ``__cause__`` is the pool's last connect error, if no connection attempt has succeeded
    since. A copy that went through ``pickle`` has none, as any exception.

    Example::

        async def user(request: Request) -> Response:
            try:
                found = await get_user(engine, request.path_params["id"])
            except PoolTimeout as error:
                wait = math.ceil(error.retry_after or 1)
                return Response(status_code=503, headers={"Retry-After": str(wait)})
            return Response(found.name)
    """

    stage: str
    """What the checkout was waiting for when it timed out: ``"queueing"`` (every
    connection was in use), ``"connecting"`` or ``"validating"``."""

    waited: float
    """How long the caller waited, in seconds."""

    holders: Sequence[Holder]
    """The tasks that hold connections, the longest-held first, at most 20 of them.

    The message says how many more there are; ``TypedPool.holders()`` returns all. Errors of one
    moment share one list.
    """

    retry_after: float | None
    """After how many seconds a retry is sensible; None if it is not known.

    It is the earlier of two times, as far as they are known:

    - the time until the present queue is served by returns: the number of callers that wait,
      with this one, times the mean time of use, divided by the number of connections in use.
      The mean is that of all uses so far, or that of the present uses if they last longer.
    - in an outage, the time until the pool's next connection attempt.

    It is limited to 0.1 to 60 seconds. It has no jitter: clients that retry should add some.
    """

    def __init__(
        self,
        message: str,
        *,
        stage: str,
        waited: float,
        holders: Sequence[Holder] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.waited = waited
        self.holders = holders
        self.retry_after = retry_after


class PoolSaturated(TypedPoolError, exc.TimeoutError):
    """The pool refuses a caller, because too many wait (``pool_max_waiting``: raised without
    waiting) or because they wait too long (``pool_shed_after``).

    Nothing has been sent to the database, so the work may be tried again.
    """

    retry_after: float | None
    """After how many seconds a retry is sensible, as for `PoolTimeout`."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PoolClosed(TypedPoolError, exc.InvalidRequestError):
    """``TypedPool.close()`` was called: the pool accepts no more checkouts."""


class StatementTimeout(TypedPoolError, TimeoutError):
    """A call did not finish within its ``timeout``, which includes the checkout.

    If the call waited for a connection of a `TypedPool`, the message has the same parts as
    that of `PoolTimeout`, ``__cause__`` is the pool's last connect error, and the pool
    counts a timeout. Nothing has been sent to the database then. While ``executing``, the
    statement was cancelled, but the database may have completed it before.

    The shorter limit applies: if ``pool_timeout`` ends before ``timeout``, it is a
    `PoolTimeout`.
    """

    stage: str
    """What the call was doing: ``"queueing"``, ``"connecting"`` or ``"validating"``, as for
    `PoolTimeout`, or ``"executing"``: anything else, with another pool than `TypedPool` the
    checkout as well."""

    timeout: float | None
    """The ``timeout`` of the call, in seconds."""

    holders: Sequence[Holder]
    """The tasks that hold connections, as for `PoolTimeout`; empty while executing."""

    retry_after: float | None
    """After how many seconds a retry is sensible, as for `PoolTimeout`; None while executing."""

    query: str | None = None
    """The name of the declared query that was run; None for any other statement."""

    def __init__(
        self,
        message: str,
        *,
        stage: str = "executing",
        timeout: float | None = None,
        holders: Sequence[Holder] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.timeout = timeout
        self.holders = holders
        self.retry_after = retry_after

    def __str__(self) -> str:
        query = f"query {self.query}: " if self.query else ""
        return query + "".join(map(str, self.args))


class RowShapeError(TypedPoolError):
    """The columns do not fit the row type. Raised before the first row is read."""

    faults: tuple[str, ...]
    """All faults, one line each."""

    query: str | None = None
    """The name of the declared query that was run; None for any other statement."""

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
    """A value does not have the declared type. The message does not show the value.

    It is raised as well if a function of the application that gets the values raises an
    exception (``Decode()``, ``__post_init__``, a validator), and if the driver cannot decode a
    value, such as a date before the year 1. That exception is ``__cause__``.

    Copying or pickling the error sets ``value`` to None.
    """

    row: int | None
    """The number of the row, counted from 1; None if the driver does not report it."""

    column: str | None
    """The name of the column, as the database sent it; None if it is not one column: the
    constructor of a class raised an exception for the values of a row."""

    path: str
    """The place inside the value: ``$.items[3].price`` in a JSON document, ``[2]`` in an
    array, "" for the value itself."""

    expected: str
    """The declared type."""
    found: str
    """What the column has instead: a type, ``NULL``, or a description without the value."""
    hint: str
    """What to do next, or ""."""

    query: str | None = None
    """The name of the declared query that was run; None for any other statement."""

    value: Any
    """The value; None if ``row`` or ``column`` is None. It may be confidential: do not log it."""

    def __init__(
        self,
        row: int | None,
        column: str | None,
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
        row = None if self.row is None else f"row {self.row}"
        path = f" at {self.path}" if self.path else ""
        column = None if self.column is None else f'column "{self.column}"{path}'
        place = ", ".join(part for part in (row, column) if part is not None)
        query = f" (query {self.query})" if self.query else ""
        hint = f"; next: {self.hint}" if self.hint else ""
        fault = f"expected {self.expected}, found {self.found}{query}{hint}"
        return f"{place}: {fault}" if place else fault

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, {**self.__dict__, "value": None}


class DeclarationError(TypedPoolError, TypeError):
    """A function decorated with ``@query`` does not match its SQL, or is not supported.

    Raised by the decorator. If an annotation uses a name that is defined later, it is
    raised by the first call.
    """

    query: str
    """The name of the query, such as ``app.users.get_user``."""

    file: Path
    """The file that contains the declaration."""
    line: int
    """The line of the decorator."""

    faults: tuple[str, ...]
    """One message for each fault."""

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


class CannotRun(TypedPoolError):
    """A command, a check or a description is not possible at all.

    The message says why, and what to do next. The command line prints it and exits with 2.
    """


class DescribeTimeout(CannotRun):
    """A database did not describe a statement within the ``timeout`` of the describer."""

    action: str
    """What the database did not do in time, such as ``describe 'SELECT 1'``."""
    seconds: float
    """The ``timeout``."""

    def __init__(self, action: str, seconds: float) -> None:
        super().__init__(
            f"the database did not {action} within {seconds:g} s; next: check whether a table "
            "is locked, or set a longer timeout"
        )
        self.action = action
        self.seconds = seconds


class Refused(TypedPoolError):
    """The database does not accept a statement. Other statements can still be described."""

    message: str
    """The message of the database."""
    position: int | None
    """The position of the error in the SQL as it was sent, in characters from 0; None if the
    database does not report it."""
    hint: str
    """What to do next, or ""."""
    code: str | None
    """The database's code of the error, such as an SQLSTATE; None if there is none."""

    def __init__(
        self, message: str, *, position: int | None = None, hint: str = "", code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.hint = hint
        self.code = code


class SnapshotError(TypedPoolError):
    """A snapshot cannot be used. The message names the file and what is wrong with it."""


def copy_error(error: _E) -> _E:
    """Copy an exception, so that several tasks can each raise their own copy.

    If several tasks raise the same exception object, each of them adds its frames to the
    object's traceback.

    :return: the copy, or ``error`` itself if it cannot be copied.
    """
    error_type = type(error)
    try:
        copy: Any = error_type.__new__(error_type, *error.args)
        copy.args = error.args
        copy.__dict__.update(error.__dict__)
    except Exception:  # noqa: BLE001 - a third party's __new__ may raise anything
        return error
    copy.__cause__ = error.__cause__
    copy.__suppress_context__ = error.__suppress_context__
    result: _E = copy.with_traceback(error.__traceback__)
    return result
