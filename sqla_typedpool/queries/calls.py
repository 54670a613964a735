"""Build the function that replaces a declared one and runs its query.

The function is generated with the same parameters, so that Python itself binds the arguments.
A call costs one dict more than the ``fetch_*`` call that it makes. The only text that becomes
code is the names of the parameters, which are identifiers.
"""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import AsyncGenerator, Callable
from typing import Any

from sqla_typedpool.errors import RowShapeError, RowValueError, StatementTimeout, TypedPoolError
from sqla_typedpool.fetch import routes
from sqla_typedpool.fetch.api import execute, fetch_all, fetch_one, fetch_optional
from sqla_typedpool.mapping.deferred import copy_annotations
from sqla_typedpool.pool.call_sites import QUERY_GLOBAL
from sqla_typedpool.queries.info import QueryInfo
from sqla_typedpool.queries.list_statements import ListStatement
from sqla_typedpool.queries.returns import Cardinality
from sqla_typedpool.queries.signature import Signature

# The attribute of a query's function that contains its ``QueryInfo``.
INFO = "__typedpool_query__"

_RUN = "{own}run({executor}, {own}row_type, {arguments}, timeout={own}timeout)"
_PLAIN = "{own}statement, {values}"
_WITH_LISTS = "*{own}statement({values})"
_ASYNC = """\
async def declared{parameters}:
    try:
        return await {run}
    except {own}errors as {own}error:
        {own}error.query = {own}name
        raise
"""
_STREAM = """\
def declared{parameters}:
    return {run}
"""


def build_function(info: QueryInfo, signature: Signature, statement: Any) -> Any:
    """Build the function that runs a query.

    :param statement: the argument of the ``fetch_*`` functions. For SQL text it is a ``str``,
        which they run fastest.
    """
    own = _own_prefix(signature)
    declared: Any = info.function
    namespace = {
        QUERY_GLOBAL: info.name,  # reports of the pool show the caller's line, not this one
        f"{own}statement": _with_lists(info, statement),
        f"{own}timeout": info.timeout,
        f"{own}name": info.name,
        f"{own}errors": (RowValueError, RowShapeError, StatementTimeout),
    }
    _add_run(namespace, own, info)
    code = _compile(_source(info, signature, own)).replace(  # tracebacks show the decorator
        co_name=declared.__name__,
        co_filename=declared.__code__.co_filename,
        co_firstlineno=declared.__code__.co_firstlineno,
    )
    function: Any = types.FunctionType(code, namespace, declared.__name__, declared.__defaults__)
    function.__kwdefaults__ = declared.__kwdefaults__
    functools.update_wrapper(function, declared)
    copy_annotations(declared, function)
    setattr(function, INFO, info)
    return function


def _source(info: QueryInfo, signature: Signature, own: str) -> str:
    values = ", ".join(f"{name!r}: {name}" for name in signature.names)
    values = f"{{{values}}}" if values else "None"
    arguments = (_WITH_LISTS if info.lists else _PLAIN).format(own=own, values=values)
    run = _RUN.format(own=own, executor=signature.executor, arguments=arguments)
    return (_ASYNC if info.is_async else _STREAM).format(
        parameters=signature.source(), own=own, run=run
    )


def _with_lists(info: QueryInfo, statement: Any) -> Any:
    """Return the statement; if it has lists, the function that returns it for a call."""
    if not info.lists:
        return statement
    return ListStatement(info.sql, statement, info.lists, info.bind_names)


def _own_prefix(signature: Signature) -> str:
    """Return a prefix for the names that are not parameters; no parameter begins with it."""
    prefix = "_query_"
    while any(each.name.startswith(prefix) for each in signature.parameters):
        prefix += "_"
    return prefix


@functools.lru_cache(200)
def _compile(source: str) -> types.CodeType:
    """Compile the function, with all of its code on line 1."""
    tree: Any = ast.parse(source)
    node: Any
    for node in ast.walk(tree):
        if "lineno" in node._attributes:
            node.lineno = node.end_lineno = 1
            node.col_offset = node.end_col_offset = 0
    module = compile(tree, "<query>", "exec", dont_inherit=True)
    (code,) = [each for each in module.co_consts if isinstance(each, types.CodeType)]
    return code


# ----------------------------------------------------------------- running by cardinality


def _add_run(namespace: dict[str, Any], own: str, info: QueryInfo) -> None:
    """Add the row type and ``run``, which a call uses, to the globals of the function.

    If the return type is not known yet, the first call adds them.
    """
    if info.annotations["return"].is_resolved:
        namespace[f"{own}run"] = _run_function(info)
        namespace[f"{own}row_type"] = info.row_type
        return

    def first_run(db: Any, _: Any, statement: Any, values: Any, *, timeout: float | None) -> Any:
        namespace[f"{own}row_type"] = info.row_type
        run = namespace[f"{own}run"] = _run_function(info)
        return run(db, info.row_type, statement, values, timeout=timeout)

    namespace[f"{own}run"] = first_run
    namespace[f"{own}row_type"] = None


def _run_function(info: QueryInfo) -> Callable[..., Any]:
    run = _RUN_FUNCTIONS[info.cardinality]
    return functools.partial(run, info.name) if run in (_run_count, _run_stream) else run


async def _run_count(
    name: str, db: Any, _: Any, statement: Any, values: Any, *, timeout: float | None
) -> int:
    count = await execute(db, statement, values, timeout=timeout)
    if count is None:
        raise TypedPoolError(
            f"query {name} was run, but the driver did not report the number of rows; next: "
            "declare it -> None, or let the statement return the rows (RETURNING)"
        )
    return count


async def _run_only(db: Any, _: Any, statement: Any, values: Any, *, timeout: float | None) -> None:
    await execute(db, statement, values, timeout=timeout)


def _run_stream(
    name: str, db: Any, row_type: Any, statement: Any, values: Any, *, timeout: float | None
) -> AsyncGenerator[Any, None]:
    return routes.stream(db, row_type, statement, values, timeout, name)


_RUN_FUNCTIONS: dict[Cardinality, Callable[..., Any]] = {
    Cardinality.ONE: fetch_one,
    Cardinality.OPTIONAL: fetch_optional,
    Cardinality.ALL: fetch_all,
    Cardinality.STREAM: _run_stream,
    Cardinality.COUNT: _run_count,
    Cardinality.NOTHING: _run_only,
}
