"""``@query``: a function is declared to be a query, and checked without a database."""

from __future__ import annotations

import inspect
import itertools
import math
import os
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.queries.annotation import DeferredAnnotation, enclosing_names
from sqla_typedpool.queries.calls import INFO, function_for
from sqla_typedpool.queries.info import Origin, QueryInfo, name_of
from sqla_typedpool.queries.returns import Cardinality, NotReturnable, returns_of
from sqla_typedpool.queries.signature import Signature, signature_faults, signature_of
from sqla_typedpool.queries.statements import StatementError, source_faults, source_of

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from typing_extensions import LiteralString

# where the function is in methods, partials and under other decorators
_INNER = ("__func__", "func", "__wrapped__")

F = TypeVar("F", bound=Callable[..., Any])

# In their order. Several may have one name (``async def _`` under a route's decorator), and what
# nobody can call any more is gone: after a reload, too.
_declared: WeakValueDictionary[int, Callable[..., Any]] = WeakValueDictionary()
_numbers = itertools.count()


def query(
    statement: LiteralString | Executable | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> Callable[[F], F]:
    """Declare that a function runs this statement. Its body is never run.

    The first parameter (after ``self`` or ``cls``) is where it runs: an engine, a connection
    or a session. The others are the statement's parameters, by name. The return annotation
    says what comes back: ``User`` (exactly one row), ``User | None``, ``list[User]``,
    ``AsyncIterator[User]`` (a plain ``def``), ``RowCount`` or ``None``.

    :param statement: SQL text with ``:name`` parameters, or any SQLAlchemy statement.
    :param path: of a file with the SQL instead, from the folder of the Python file on.
    :param timeout: seconds for each call, as of ``fetch_all``.
    :raises DeclarationError: where it is declared, naming everything that does not fit.

    Example::

        @query("SELECT id, name FROM users WHERE id = :user_id")
        async def get_user(db: Executor, *, user_id: int) -> User:
            raise NotImplementedError
    """
    called = sys._getframe(1)
    order = QueryArguments(statement, path, timeout, called.f_code.co_filename, called.f_lineno)

    def decorate(function: F) -> F:
        return _decorated(function, order, sys._getframe(1))  # type: ignore[no-any-return]

    return decorate


class QueryArguments(NamedTuple):
    """What ``query(...)`` was called with, and where."""

    statement: Any
    path: str | os.PathLike[str] | None
    timeout: float | None
    file: str
    line: int


def _decorated(function: Any, order: QueryArguments, around: types.FrameType) -> Any:
    if isinstance(function, (classmethod, staticmethod)):
        is_static = isinstance(function, staticmethod)
        return type(function)(_declare(function.__func__, order, around, is_static=is_static))
    return _declare(function, order, around, is_static=False)


def _declare(
    function: Any, order: QueryArguments, around: types.FrameType, *, is_static: bool
) -> Any:
    """The function that runs a query, entered in the list of all.

    :raises DeclarationError: naming everything that does not fit.
    """
    if not isinstance(function, types.FunctionType):
        raise DeclarationError(
            getattr(function, "__qualname__", repr(function)),
            _shown(order.file),
            order.line,
            f"@query stands on a function, not on {type(function).__name__}",
        )
    signature = signature_of(function, is_static=is_static)
    annotations = _annotations(function, signature, around)
    faults = [*_function_faults(function, order), *signature_faults(signature, function)]
    faults += [written.fault for written in annotations.values() if written.fault]
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    origin, source, cardinality = _origin(function, order), None, None
    try:
        cardinality = _cardinality(annotations, is_async=is_async)
    except NotReturnable as error:
        faults.append(str(error))
    try:
        source = source_of(order.statement, order.path, origin.file.parent)
        faults += source_faults(source, signature.names, cardinality)
    except StatementError as error:
        faults.append(str(error))
    if source is None or faults:
        faults += _guesses(signature)
        raise DeclarationError(name_of(function), origin.file, origin.line, *faults)
    origin = replace(origin, sql_file=source.file)
    info = QueryInfo(
        function, source, origin, annotations, is_async=is_async, timeout=order.timeout
    )
    made = _declared[next(_numbers)] = function_for(info, signature, source.given)
    return made


def _guesses(signature: Signature) -> Iterator[str]:
    """What may be the reason of all the other faults."""
    if signature.guessed_self is not None:
        yield (
            f"{signature.guessed_self} was taken for self, as it has no annotation; "
            f"write {signature.guessed_self}: Executor"
        )


def _annotations(
    function: types.FunctionType, signature: Signature, around: types.FrameType
) -> dict[str, DeferredAnnotation]:
    enclosing = enclosing_names(around, function)
    found = {
        each.name: DeferredAnnotation(
            function, each.name, enclosing, is_none_default=each.default is None
        )
        for each in signature.binds
        if each.annotation is not each.empty
    }
    if "return" in function.__annotations__:
        found["return"] = DeferredAnnotation(function, "return", enclosing)
    return found


def _function_faults(function: types.FunctionType, order: QueryArguments) -> Iterator[str]:
    if hasattr(function, "__wrapped__"):
        yield (
            "another decorator stands below @query, and what it adds would never be run; "
            "put it above"
        )
    timeout: Any = order.timeout
    if timeout is None:
        return
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not is_number or not 0 < timeout < math.inf:
        yield f"timeout={timeout!r} is no number of seconds above 0; leave it out for no limit"


def _cardinality(
    annotations: dict[str, DeferredAnnotation], *, is_async: bool
) -> Cardinality | None:
    """What is known already of the rows.

    :raises NotReturnable: the return annotation can never be one.
    """
    written = annotations.get("return")
    if written is None or not written.is_resolved:
        return None
    return returns_of(written.resolved(), is_async=is_async).cardinality


def _origin(function: types.FunctionType, order: QueryArguments) -> Origin:
    """Where the decorator stands; of a helper around ``query()``, where the function does."""
    code = function.__code__
    line = order.line if order.file == code.co_filename else code.co_firstlineno
    return Origin(_shown(code.co_filename), line)


def _shown(file: str) -> Path:
    """A file's absolute path; of code that has none (``<stdin>``), its name."""
    return Path(file) if file.startswith("<") else Path(file).absolute()


def declared() -> tuple[QueryInfo, ...]:
    """Every declared query that can still be called, in the order of declaration."""
    return tuple(query_info(_declared[each]) for each in sorted(_declared) if each in _declared)


def query_info(function: Callable[..., Any]) -> QueryInfo:
    """What is known of a declared query: SQL, binds, row type, where it stands.

    :param function: a function under ``@query``, or such a method, bound or not.
    :raises TypeError: it is none.

    Example::

        query_info(get_user).sql
    """
    found: Any = function
    while found is not None:
        info = getattr(found, INFO, None)
        if isinstance(info, QueryInfo):
            return info
        found = next((getattr(found, name) for name in _INNER if hasattr(found, name)), None)
    name = getattr(function, "__qualname__", None) or repr(function)
    raise TypeError(f"{name} is no declared query; next: put @query(...) on the function")
