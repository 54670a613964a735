"""The functions and collations that an application adds to its SQLite connections.

They are added by name to the checker's copy, so that statements that use them are understood
(SQLAlchemy itself adds ``regexp``). They are never called: nothing is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FUNCTIONS = "SELECT DISTINCT lower(name), type, builtin FROM pragma_function_list"
COLLATIONS = "SELECT name FROM pragma_collation_list"

_BELIEVED = frozenset(
    {"coalesce", "count", "glob", "ifnull", "length", "like", "lower", "ltrim", "rtrim", "trim"}
    | {"upper", "rank", "dense_rank", "row_number"}
)
"""The functions whose results are known not to be NULL, as long as they are SQLite's own."""


@dataclass(frozen=True)
class Functions:
    """What a connection's functions do to the columns of a statement."""

    aggregates: frozenset[str]
    """Lower-case names; some of these are plain functions too, of other arguments."""
    are_overridden: bool
    """Whether the application has its own version of a function that is relied on."""


def copy_functions(
    copy: Any, functions: Sequence[Sequence[Any]], collations: Sequence[Sequence[Any]]
) -> Functions:
    """Add the application's functions and collations to the copy; what there is to know of all.

    :param functions: the rows of `FUNCTIONS`.
    :param collations: the rows of `COLLATIONS`.
    """
    own = [(name, kind) for name, kind, is_builtin in functions if not is_builtin]
    aggregates = {name for name, kind, _ in functions if kind in ("a", "w")}
    for name, kind in own:
        if kind == "s":
            copy.create_scalar_function(name, _never_called)
        else:
            copy.create_aggregate_function(name, _never_called)
    known = {row[0].lower() for row in copy.execute(COLLATIONS)}
    for (name,) in collations:
        if name.lower() not in known:
            copy.create_collation(name, _never_called)
    return Functions(frozenset(aggregates), any(name in _BELIEVED for name, _ in own))


def _never_called(*_: Any) -> Any:
    return 0
