"""Which parameters make an expression NULL, if they are None.

The opposite of `inference`: it finds what makes an expression certainly NULL, in each row for
which the expression is evaluated. Functions and operators count if they are strict: the server
does not call them with NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.catalog import Function
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.scope import Scope
from sqla_typedpool.describe.postgres.sources import (
    Source,
    assigned_row,
    of_query,
    row_column,
    sources,
)


@dataclass(frozen=True)
class CertainNull:
    """When an expression is certainly NULL."""

    # Whether it always is.
    always: bool = False
    # The names of the parameters of which each one alone makes it NULL, in the order of the text.
    parameters: tuple[str, ...] = ()


_NOTHING_CERTAIN = CertainNull()
_ALWAYS = CertainNull(always=True)


def certain_null(node: Any, scope: Scope) -> CertainNull:
    """Return when an expression of a query is certainly NULL.

    :param node: None stands for NULL.
    """
    if node is None:
        return _ALWAYS
    rule = _RULES.get(node.kind)
    return _NOTHING_CERTAIN if rule is None else rule(node, scope)


_CertainRule = Callable[[Node, Scope], CertainNull]


def _any_of(parts: Sequence[CertainNull]) -> CertainNull:
    """Combine parts of which each one makes the whole NULL."""
    names = dict.fromkeys(name for part in parts for name in part.parameters)
    return CertainNull(any(part.always for part in parts), tuple(names))


def _all_of(parts: Sequence[CertainNull]) -> CertainNull:
    """Combine parts that must all be NULL: the branches of CASE, the rows of VALUES."""
    conditional = [part for part in parts if not part.always]
    if not conditional:
        return _ALWAYS if parts else _NOTHING_CERTAIN
    first, *others = conditional
    names = (name for name in first.parameters if all(name in each.parameters for each in others))
    return CertainNull(parameters=tuple(names))


def _of_sources(found: Sequence[Source]) -> CertainNull:
    return _all_of([certain_null(each.expression, each.scope) for each in found])


# ------------------------------------------------------------------------------- the rules


def _constant(node: Node, scope: Scope) -> CertainNull:
    return _ALWAYS if node.flag("constisnull") else _NOTHING_CERTAIN


def _parameter(node: Node, scope: Scope) -> CertainNull:
    number = node.number("paramid")
    if node.paramkind == pg.ParamKind.MULTIPLE:
        return _of_assigned_row(number, scope)
    if node.paramkind != pg.ParamKind.EXTERNAL:
        return _NOTHING_CERTAIN
    names = scope.inference.parameters
    return CertainNull(parameters=tuple(names[number - 1 : number]))


def _of_assigned_row(number: int, scope: Scope) -> CertainNull:
    """Find a column of the subquery in ``SET (a, b) = (SELECT ...)``."""
    row = assigned_row(number, scope)
    return _NOTHING_CERTAIN if row is None else _of_sources(of_query(row, row_column(number)))


def _column(node: Node, scope: Scope) -> CertainNull:
    return _of_sources(sources(node, scope))


def _call(node: Node, scope: Scope) -> CertainNull:
    called = scope.function(node.number("funcid"))
    return _if_strict(called, node, scope)


def _operator(node: Node, scope: Scope) -> CertainNull:
    called, _ = scope.operator(node)
    return _if_strict(called, node, scope)


def _if_strict(called: Function | None, node: Node, scope: Scope) -> CertainNull:
    is_set = node.flag("funcretset") or node.flag("opretset")
    if called is None or is_set or not called.is_strict or called.may_be_simplified:
        return _NOTHING_CERTAIN
    return _any_of([certain_null(each, scope) for each in node.nodes("args")])


def _not(node: Node, scope: Scope) -> CertainNull:
    if node.boolop != "not":
        return _NOTHING_CERTAIN
    return certain_null(node.nodes("args")[0], scope)


def _arguments(node: Node, scope: Scope) -> CertainNull:
    """Find when COALESCE, GREATEST and LEAST are NULL."""
    return _all_of([certain_null(each, scope) for each in node.nodes("args")])


def _nullif(node: Node, scope: Scope) -> CertainNull:
    return certain_null(node.nodes("args")[0], scope)


def _case(node: Node, scope: Scope) -> CertainNull:
    results = [*(each.result for each in node.nodes("args")), node.defresult]
    return _all_of([certain_null(each, scope) for each in results])


def _sublink(node: Node, scope: Scope) -> CertainNull:
    """Find when ``(SELECT ...)`` is NULL; it is also NULL if it returns no row."""
    if node.subLinkType != pg.SubLinkType.EXPRESSION:
        return _NOTHING_CERTAIN
    return _of_sources(of_query(scope.subquery(node.subselect), 1))


def _element(node: Node, scope: Scope) -> CertainNull:
    if node.refassgnexpr is not None:
        return _NOTHING_CERTAIN
    return certain_null(node.refexpr, scope)


def _value_of(node: Node, scope: Scope) -> CertainNull:
    return certain_null(node.arg, scope)


_SAME_AS_VALUE = (
    "RELABELTYPE", "COERCEVIAIO", "ARRAYCOERCEEXPR", "CONVERTROWTYPEEXPR", "COERCETODOMAIN",
    "COLLATEEXPR", "NAMEDARGEXPR", "FIELDSELECT",
)  # fmt: skip
_RULES: Mapping[str, _CertainRule] = {
    "CONST": _constant,
    "PARAM": _parameter,
    "VAR": _column,
    "FUNCEXPR": _call,
    "OPEXPR": _operator,
    "BOOLEXPR": _not,
    "COALESCEEXPR": _arguments,
    "MINMAXEXPR": _arguments,
    "NULLIFEXPR": _nullif,
    "CASEEXPR": _case,
    "SUBLINK": _sublink,
    "SUBSCRIPTINGREF": _element,
    **dict.fromkeys(_SAME_AS_VALUE, _value_of),
}
