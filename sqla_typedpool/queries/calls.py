"""The function that takes a declared one's place.

It is generated with the same parameters, so that Python itself binds the arguments: a call
costs one dict more than the ``fetch_*`` it makes. No text from outside becomes code but the
names of parameters, which are names.
"""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import AsyncGenerator, Callable
from typing import Any

from sqla_typedpool.errors import RowShapeError, RowValueError, TypedPoolError
from sqla_typedpool.fetch import routes
from sqla_typedpool.fetch.api import execute, fetch_all, fetch_one, fetch_optional
from sqla_typedpool.queries.info import QueryInfo
from sqla_typedpool.queries.returns import Cardinality
from sqla_typedpool.queries.signature import Signature

INFO = "__typedpool_query__"
"""The attribute of a query's function that holds what is known of it."""

_RUN = "{own}run({executor}, {own}row_type, {own}statement, {values}, timeout={own}timeout)"
_ASYNC = """\
async def declared({parameters}):
    try:
        return await {run}
    except {own}errors as {own}error:
        {own}error.query = {own}name
        raise
"""
_STREAM = """\
def declared({parameters}):
    return {run}
"""


def function_for(info: QueryInfo, signature: Signature, statement: Any) -> Any:
    """The function that runs a query.

    :param statement: what the ``fetch_*`` functions are given: a text as ``str``, which
        takes the shortest way.
    """
    own = _prefix(signature)
    declared: Any = info.function
    fixed = {
        "statement": statement,
        "timeout": info.timeout,
        "name": info.name,
        "errors": (RowValueError, RowShapeError),
    }
    space: dict[str, Any] = {f"{own}{key}": value for key, value in fixed.items()}
    _prepare(space, own, info)
    code = _placed(_compiled(_source(info, signature, own)), declared)
    made: Any = types.FunctionType(code, space, declared.__name__, declared.__defaults__)
    made.__kwdefaults__ = declared.__kwdefaults__
    functools.update_wrapper(made, declared)
    setattr(made, INFO, info)
    return made


def _source(info: QueryInfo, signature: Signature, own: str) -> str:
    executor, values = signature.executor, _values(signature.names)
    run = _RUN.format(own=own, executor=executor, values=values)
    return (_ASYNC if info.is_async else _STREAM).format(
        parameters=signature.source(), own=own, run=run
    )


def _prefix(signature: Signature) -> str:
    """What the function's own names begin with, and no parameter's does."""
    prefix = "_query_"
    while any(each.name.startswith(prefix) for each in signature.parameters):
        prefix += "_"
    return prefix


def _values(names: tuple[str, ...]) -> str:
    """``{"user_id": user_id}``"""
    pairs = ", ".join(f"{name!r}: {name}" for name in names)
    return f"{{{pairs}}}" if pairs else "None"


@functools.lru_cache(200)
def _compiled(source: str) -> types.CodeType:
    """The code of the function, all of it on one line."""
    tree: Any = ast.parse(source)
    node: Any
    for node in ast.walk(tree):
        if "lineno" in node._attributes:
            node.lineno = node.end_lineno = 1
            node.col_offset = node.end_col_offset = 0
    module = compile(tree, "<query>", "exec", dont_inherit=True)
    (code,) = [each for each in module.co_consts if isinstance(each, types.CodeType)]
    return code


def _placed(code: types.CodeType, declared: Any) -> types.CodeType:
    """As if it stood where the function is declared, so that tracebacks show its decorator."""
    return code.replace(
        co_name=declared.__name__,
        co_filename=declared.__code__.co_filename,
        co_firstlineno=declared.__code__.co_firstlineno,
    )


# --------------------------------------------------------------------- what is run


def _prepare(space: dict[str, Any], own: str, info: QueryInfo) -> None:
    """Say what is run: at once, or at the first call if the return type is not known yet."""
    if info.is_resolved:
        space[f"{own}run"] = _run_of(info)
        space[f"{own}row_type"] = info.row_type
        return

    def first(db: Any, _: Any, statement: Any, values: Any, *, timeout: float | None) -> Any:
        space[f"{own}row_type"] = info.row_type
        run = space[f"{own}run"] = _run_of(info)
        return run(db, info.row_type, statement, values, timeout=timeout)

    space[f"{own}run"] = first
    space[f"{own}row_type"] = None


def _run_of(info: QueryInfo) -> Callable[..., Any]:
    run = _RUNS[info.cardinality]
    return functools.partial(run, info.name) if run in (_count, _stream) else run


async def _count(
    name: str, db: Any, _: Any, statement: Any, values: Any, *, timeout: float | None
) -> int:
    count = await execute(db, statement, values, timeout=timeout)
    if count is None:
        raise TypedPoolError(
            f"query {name} was run, but the driver does not tell how many rows it has changed; "
            "next: declare it -> None, or let the statement return the rows (RETURNING)"
        )
    return count


async def _nothing(db: Any, _: Any, statement: Any, values: Any, *, timeout: float | None) -> None:
    await execute(db, statement, values, timeout=timeout)


def _stream(
    name: str, db: Any, row_type: Any, statement: Any, values: Any, *, timeout: float | None
) -> AsyncGenerator[Any, None]:
    return routes.stream(db, row_type, statement, values, timeout, name)


_RUNS: dict[Cardinality, Callable[..., Any]] = {
    Cardinality.ONE: fetch_one,
    Cardinality.OPTIONAL: fetch_optional,
    Cardinality.ALL: fetch_all,
    Cardinality.STREAM: _stream,
    Cardinality.COUNT: _count,
    Cardinality.NOTHING: _nothing,
}
