"""The rules for expressions other than columns and calls."""

from __future__ import annotations

from dataclasses import replace

from sqla_typedpool.describe.nullability import (
    CONSTANT,
    Nullability,
    any_of,
    either,
    maybe,
    never,
    strict,
    unknown,
    without_relation,
)
from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.arrays import elements
from sqla_typedpool.describe.postgres.calls import call_operator
from sqla_typedpool.describe.postgres.catalog import BUILT_IN
from sqla_typedpool.describe.postgres.grouping import has_one_row
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.outputs import output
from sqla_typedpool.describe.postgres.scope import Rule, Scope
from sqla_typedpool.describe.postgres.sources import assigned_row, row_column


def always(reason: str) -> Rule:
    """Return a rule for expressions that are never NULL."""
    return lambda node, scope: never(reason)


def first_not_null(word: str) -> Rule:
    """Return a rule for expressions that are NULL only if all arguments are: COALESCE."""
    return lambda node, scope: either(scope.infer_all(node.nodes("args")), word)


def same_as(field: str) -> Rule:
    """Return a rule for expressions that are NULL exactly if the node in a field is."""
    return lambda node, scope: scope.infer(getattr(node, field))


def constant(node: Node, scope: Scope) -> Nullability:
    """Infer a constant."""
    return maybe("NULL") if node.flag("constisnull") else CONSTANT


def parameter(node: Node, scope: Scope) -> Nullability:
    """Infer ``$1``, or a column of the subquery in ``x IN (SELECT ...)``."""
    number = int(node.paramid)
    if node.paramkind == pg.ParamKind.EXTERNAL:
        return _of_statement(scope, number)
    if node.paramkind == pg.ParamKind.SUBLINK and scope.compared is not None:
        return output(scope.compared, number)
    row = assigned_row(number, scope) if node.paramkind == pg.ParamKind.MULTIPLE else None
    if row is not None:
        return _of_subquery(row, row_column(number))
    return unknown("nothing is known about this parameter")


def _of_statement(scope: Scope, number: int) -> Nullability:
    names = scope.inference.parameters
    name = names[number - 1] if number <= len(names) else str(number)
    if name in scope.inference.never_null:
        return never(f"parameter {name} is never None")
    if name in scope.inference.unknown_parameters:
        return unknown(f"parameter {name} may be None")
    return maybe(f"parameter {name} may be None")


def boolean(node: Node, scope: Scope) -> Nullability:
    """Infer AND, OR and NOT."""
    return without_relation(strict(scope.infer_all(node.nodes("args")), "no operand is NULL"))


def distinct(node: Node, scope: Scope) -> Nullability:
    """Infer ``IS DISTINCT FROM``."""
    if 0 < node.number("opno") < BUILT_IN:
        return never("IS DISTINCT FROM is true or false")
    return unknown("IS DISTINCT FROM uses an application's own operator")


def case(node: Node, scope: Scope) -> Nullability:
    """Infer CASE: a branch is taken where its condition is true, and no earlier one was."""
    default = node.defresult
    if default is None or (default.kind == "CONST" and default.flag("constisnull")):
        return maybe("CASE without ELSE")
    results = []
    for when in node.nodes("args"):
        results.append(scope.if_true(when.expr).infer(when.result))
        scope = scope.unless_true(when.expr)
    results.append(scope.infer(default))
    return any_of(results, "no branch of CASE is NULL")


def value_function(node: Node, scope: Scope) -> Nullability:
    """Infer CURRENT_DATE, CURRENT_USER and the like."""
    if node.op is None or node.number("op") >= pg.SqlValueFunction.CURRENT_SCHEMA:
        return unknown("there may be no current schema")
    return never("the server always has a value")


def array_comparison(node: Node, scope: Scope) -> Nullability:
    """Infer ``x = ANY (array)`` and ``x = ALL (array)``."""
    function, name = scope.operator(node)
    value, array = node.nodes("args")
    parts = [*scope.infer_all([value, array]), elements(array, scope)]
    whole = strict(parts, "no element is NULL")
    return without_relation(call_operator(function, name, [whole]))


def sublink(node: Node, scope: Scope) -> Nullability:
    """Infer a subquery in an expression."""
    kind = node.subLinkType
    if kind == pg.SubLinkType.EXISTS:
        return never("EXISTS is true or false")
    if kind == pg.SubLinkType.ARRAY:
        return never("ARRAY(...) of no rows is empty")
    query = scope.subquery(node.subselect)
    if kind == pg.SubLinkType.EXPRESSION:
        return _of_subquery(query, 1)
    if kind in (pg.SubLinkType.ANY, pg.SubLinkType.ALL) and node.testexpr is not None:
        return without_relation(replace(scope, compared=query).infer(node.testexpr))
    return unknown("a comparison with a subquery may be NULL")


def _of_subquery(query: Scope, number: int) -> Nullability:
    """Infer a column of a subquery that returns at most one row."""
    if not has_one_row(query.query):
        return maybe("the subquery may return no row")
    return without_relation(output(query, number))


def json_constructor(node: Node, scope: Scope) -> Nullability:
    """Infer ``JSON_OBJECT(...)``, ``JSON_ARRAY(...)`` and the like."""
    always_made = (pg.JsonConstructorType.OBJECT, pg.JsonConstructorType.ARRAY)
    if node.type in always_made and node.coercion is None:
        return never("JSON_OBJECT() and JSON_ARRAY() are never NULL")
    return unknown("a JSON function may return NULL")
