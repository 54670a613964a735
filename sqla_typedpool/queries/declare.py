"""``@query``: declare a query, and check the declaration without a database."""

from __future__ import annotations

import inspect
import itertools
import math
import os
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from sqlalchemy import Executable
from typing_extensions import LiteralString

from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.mapping.deferred import annotations_of
from sqla_typedpool.queries.annotation import DeferredAnnotation, enclosing_names
from sqla_typedpool.queries.calls import INFO, build_function
from sqla_typedpool.queries.info import Origin, QueryInfo, name_of
from sqla_typedpool.queries.returns import Cardinality, NotReturnable, returns_of
from sqla_typedpool.queries.signature import Signature, signature_errors, signature_of
from sqla_typedpool.queries.statements import (
    QuerySource,
    StatementError,
    query_source,
    statement_errors,
)

# The attributes with the function of a method, a partial and a decorated function.
_INNER = ("__func__", "func", "__wrapped__")

F = TypeVar("F", bound=Callable[..., Any])

# By number, in the order of declaration. Several queries may have the same name (``async def _``
# under a route's decorator). A query that cannot be called any more, as after a reload, is removed.
_declared: WeakValueDictionary[int, Callable[..., Any]] = WeakValueDictionary()
_numbers = itertools.count()

# The list of the innermost block of ``collect_errors``; None = errors are raised.
_collected: ContextVar[list[DeclarationError] | None] = ContextVar("collected", default=None)


def query(
    statement: LiteralString | Executable | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
    name: str | None = None,
    timeout: float | None = None,
) -> Callable[[F], F]:
    """Declare that a function runs this statement. The body of the function is never run.

    The first parameter (after ``self`` or ``cls``) is what runs the statement: an engine, a
    connection or a session. The other parameters are the statement's parameters, by name. The
    return annotation declares what is returned: ``User`` (exactly one row), ``User | None``,
    ``list[User]``, ``AsyncIterator[User]`` (a plain ``def``), ``RowCount`` or ``None``.

    :param statement: SQL text with ``:name`` parameters, or any SQLAlchemy statement.
    :param path: the path of a file with the SQL instead. A relative path starts at the folder
        of the Python file.
    :param name: the name of the query, if the file has several: ``-- name: get_user`` is the
        line above its statement.
    :param timeout: seconds for each call, as for ``fetch_all``; None = no limit.
    :raises DeclarationError: the declaration is wrong. It is raised by the decorator, and names
        everything that is wrong.

    Example::

        @query("SELECT id, name FROM users WHERE id = :user_id")
        async def get_user(db: Executor, *, user_id: int) -> User:
            raise NotImplementedError
    """
    caller = sys._getframe(1)
    place = caller.f_code.co_filename, caller.f_lineno
    arguments = QueryArguments(statement, path, name, timeout, *place)

    def decorate(function: F) -> F:
        try:
            return _decorate(function, arguments, sys._getframe(1))  # type: ignore[no-any-return]
        except DeclarationError as error:
            collected = _collected.get()
            if collected is None:
                raise
            collected.append(error)
            return function

    return decorate


class QueryArguments(NamedTuple):
    """The arguments of ``query(...)``, and the place of the call."""

    statement: Any
    path: str | os.PathLike[str] | None
    name: str | None
    timeout: float | None
    file: str
    line: int


@contextmanager
def collect_errors() -> Iterator[list[DeclarationError]]:
    """Collect the errors of faulty declarations in a list instead of raising them.

    Inside the block, the decorator returns a faulty function unchanged. The checker imports
    modules inside it, so that the first faulty declaration does not hide the others. Threads
    that a module starts are not affected: their declarations raise.
    """
    errors: list[DeclarationError] = []
    token = _collected.set(errors)
    try:
        yield errors
    finally:
        _collected.reset(token)


def _decorate(function: Any, arguments: QueryArguments, frame: types.FrameType) -> Any:
    if isinstance(function, (classmethod, staticmethod)):
        is_static = isinstance(function, staticmethod)
        return type(function)(_declare(function.__func__, arguments, frame, is_static=is_static))
    return _declare(function, arguments, frame, is_static=False)


def _declare(
    function: Any, arguments: QueryArguments, frame: types.FrameType, *, is_static: bool
) -> Any:
    """Return the function that runs a query, and register it.

    :raises DeclarationError: the declaration is wrong.
    """
    _require_function(function, arguments)
    signature = signature_of(function, is_static=is_static)
    annotations = _annotations(function, signature, frame)
    errors = [*_function_errors(function, arguments), *signature_errors(signature, function)]
    errors += [each.error for each in annotations.values() if each.error]
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    origin, source, cardinality = _origin(function, arguments), None, None
    try:
        cardinality = _cardinality(annotations, is_async=is_async)
    except NotReturnable as error:
        errors.append(str(error))
    try:
        source = query_source(*arguments[:3], origin.file.parent)
        errors += statement_errors(source, signature.names, cardinality)
        errors += source.list_errors(annotations)
    except StatementError as error:
        errors.append(str(error))
    if source is None or errors:
        errors += _assumptions(signature)
        raise DeclarationError(name_of(function), origin.file, origin.line, *errors)
    expanded = source.with_lists(annotations)
    info = QueryInfo(
        function=function,
        statement=expanded.statement,
        sql=source.sql,
        is_async=is_async,
        origin=_with_sql_file(origin, source),
        timeout=arguments.timeout,
        annotations=annotations,
        lists=source.lists,
    )
    built = _declared[next(_numbers)] = build_function(info, signature, expanded.fetch_argument)
    return built


def _require_function(function: Any, arguments: QueryArguments) -> None:
    if not isinstance(function, types.FunctionType):
        raise DeclarationError(
            getattr(function, "__qualname__", repr(function)),
            _absolute(arguments.file),
            arguments.line,
            f"@query decorates {type(function).__name__}, which is not a function; next: write it "
            "directly above a def",
        )


def _assumptions(signature: Signature) -> Iterator[str]:
    """Yield assumptions that may be the cause of the other errors."""
    if signature.assumed_self is not None:
        yield (
            f"{signature.assumed_self} was taken for self, because it has no annotation; next: "
            f"write {signature.assumed_self}: Executor"
        )


def _annotations(
    function: types.FunctionType, signature: Signature, frame: types.FrameType
) -> dict[str, DeferredAnnotation]:
    enclosing = enclosing_names(frame, function)
    declared = annotations_of(function)
    names = [name for name in (*signature.names, "return") if name in declared]
    return {name: DeferredAnnotation(function, name, enclosing) for name in names}


def _function_errors(function: types.FunctionType, arguments: QueryArguments) -> Iterator[str]:
    if hasattr(function, "__wrapped__"):
        yield (
            "another decorator is below @query, and its wrapper would never be called; next: put "
            "it above @query"
        )
    timeout: Any = arguments.timeout
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and 0 < timeout < math.inf):
        yield f"timeout={timeout!r} is not a number of seconds above 0; next: correct or remove it"


def _cardinality(
    annotations: dict[str, DeferredAnnotation], *, is_async: bool
) -> Cardinality | None:
    """Return the number of rows that the function returns; None = not known yet.

    :raises NotReturnable: no query can return the type.
    """
    annotation = annotations.get("return")
    if annotation is None or not annotation.is_resolved:
        return None
    return returns_of(annotation.resolve(), is_async=is_async).cardinality


def _origin(function: types.FunctionType, arguments: QueryArguments) -> Origin:
    """Return the place of the decorator.

    If another file calls ``query()``, such as a helper of the application, it is the place of
    the function.
    """
    code = function.__code__
    line = arguments.line if arguments.file == code.co_filename else code.co_firstlineno
    return Origin(_absolute(code.co_filename), line)


def _with_sql_file(origin: Origin, source: QuerySource) -> Origin:
    found = source.file
    return origin if found is None else replace(origin, sql_file=found.file, sql_name=found.name)


def _absolute(file: str) -> Path:
    """Return a file's absolute path; for code without a file (``<stdin>``), its name."""
    return Path(file) if file.startswith("<") else Path(file).absolute()


def declared() -> tuple[QueryInfo, ...]:
    """Return every declared query that can still be called, in the order of declaration."""
    return tuple(query_info(_declared[each]) for each in sorted(_declared) if each in _declared)


def query_info(function: Callable[..., Any]) -> QueryInfo:
    """Return the description of a declared query: its SQL, parameters, row type and place.

    :param function: a function or method (bound or not) that ``@query`` decorates.
    :raises TypeError: the function is not a declared query.

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
    raise TypeError(f"{name} is not a declared query; next: decorate it with @query(...)")
