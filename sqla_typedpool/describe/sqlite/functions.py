"""The functions and collations that an application adds to its SQLite connections.

Functions of the same names are added to the copy of the schema, so that SQLite accepts statements
that use them (SQLAlchemy itself adds ``regexp``). So are the functions that only the application's
SQLite has. They are never called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FUNCTIONS = "SELECT DISTINCT lower(name), type, builtin FROM pragma_function_list"
COLLATIONS = "SELECT name FROM pragma_collation_list"

# SQLite's own functions whose results are known; an application may replace them.
_KNOWN = frozenset(
    {"coalesce", "count", "glob", "ifnull", "length", "like", "lower", "ltrim", "rtrim", "trim"}
    | {"upper", "rank", "dense_rank", "row_number", "avg", "max", "min", "sum", "total"}
)


@dataclass(frozen=True)
class Functions:
    """The functions of a connection."""

    # The names of aggregate functions, in lower case. With other arguments, some of them are
    # scalar functions.
    aggregates: frozenset[str]
    # Whether the application has replaced a function whose result is otherwise known.
    is_known_replaced: bool


def copy_functions(
    copy: Any, functions: Sequence[Sequence[Any]], collations: Sequence[Sequence[Any]]
) -> Functions:
    """Add the functions and collations that only the application's connection has to the copy.

    :param functions: the rows of `FUNCTIONS`.
    :param collations: the rows of `COLLATIONS`.
    """
    own = [(name, kind) for name, kind, is_builtin in functions if not is_builtin]
    there = {row[0] for row in copy.execute(FUNCTIONS)}
    missing = [(name, kind) for name, kind, _ in functions if name not in there]
    for name, kind in {**dict(missing), **dict(own)}.items():
        if kind == "s":
            copy.create_scalar_function(name, _never_called)
        else:
            copy.create_aggregate_function(name, _never_called)
    known = {row[0].lower() for row in copy.execute(COLLATIONS)}
    for (name,) in collations:
        if name.lower() not in known:
            copy.create_collation(name, _never_called)
    aggregates = frozenset(name for name, kind, _ in functions if kind in ("a", "w"))
    return Functions(aggregates, any(name in _KNOWN for name, _ in own))


def _never_called(*_: Any) -> Any:
    return 0
