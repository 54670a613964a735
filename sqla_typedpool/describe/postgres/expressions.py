"""The rules for expressions: one function per kind of node. A kind without one is nullable."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqla_typedpool.describe.nullability import (
    CONSTANT,
    Nullability,
    any_of,
    either,
    maybe,
    never,
    strict,
    without_relation,
)
from sqla_typedpool.describe.postgres import calls
from sqla_typedpool.describe.postgres.catalog import BUILT_IN
from sqla_typedpool.describe.postgres.grouping import has_one_row
from sqla_typedpool.describe.postgres.nodes import Datum, Node

if TYPE_CHECKING:
    from sqla_typedpool.describe.postgres.nullability import Scope

_EXISTS, _ALL, _ANY, _SCALAR, _ARRAY = "0", "1", "2", "4", "6"
_SCHEMA = 14  # the last of the SQL value functions: CURRENT_SCHEMA, which may be none
_EXTERNAL, _OF_SUBLINK = "0", "2"
_JSON_OBJECT, _JSON_ARRAY = "1", "2"


def judge(node: Any, scope: Scope) -> Nullability:
    """Whether an expression may be NULL.

    :param level: the query it stands in.
    """
    if node is None:
        return maybe("NULL")
    rule = _RULES.get(node.kind)
    if rule is None:
        return maybe(f"nothing is known of {node.kind.lower()}")
    if scope.is_left_out(node):
        return maybe("grouping sets leave it out of some rows")
    return rule(node, scope)


def type_of(node: Any) -> int:
    """The type's OID, 0 where it is not known."""
    for name in _TYPE_FIELDS:
        if node.fields.get(name):
            number: int = node.number(name)
            return number
    return 0


_TYPE_FIELDS = (
    "vartype", "consttype", "paramtype", "funcresulttype", "opresulttype", "resulttype",
    "casetype", "coalescetype", "minmaxtype", "aggtype", "wintype", "array_typeid", "row_typeid",
)  # fmt: skip


def _all_of(nodes: list[Any], scope: Scope, why: str = "it has no NULL to work on") -> Nullability:
    return strict([judge(each, scope) for each in nodes], why)


def _variable(node: Node, scope: Scope) -> Nullability:
    return scope.variable(node)


def _constant(node: Node, scope: Scope) -> Nullability:
    return maybe("NULL") if node.flag("constisnull") else CONSTANT


def _parameter(node: Node, scope: Scope) -> Nullability:
    number = int(node.paramid)
    if node.paramkind == _EXTERNAL:
        return scope.inference.parameter(number)
    if node.paramkind == _OF_SUBLINK and scope.compared is not None:
        return scope.compared.output(number)
    return maybe("nothing is known of this parameter")


def _of_argument(node: Node, scope: Scope) -> Nullability:
    return judge(node.arg, scope)


def _boolean(node: Node, scope: Scope) -> Nullability:
    return without_relation(_all_of(node.nodes("args"), scope))


def _first_that_is_not(word: str) -> Callable[[Node, Scope], Nullability]:
    def rule(node: Node, scope: Scope) -> Nullability:
        return either([judge(each, scope) for each in node.nodes("args")], word)

    return rule


def _always(why: str) -> Callable[[Node, Scope], Nullability]:
    def rule(node: Node, scope: Scope) -> Nullability:
        return never(why)

    return rule


def _distinct(node: Node, scope: Scope) -> Nullability:
    if 0 < node.number("opno") < BUILT_IN:
        return never("IS DISTINCT FROM is true or false")
    return maybe("it compares by an operator of the application")


def _case(node: Node, scope: Scope) -> Nullability:
    """Each branch is taken where its condition is true, and none before it was."""
    if node.defresult is None or _is_null(node.defresult):
        return maybe("CASE without ELSE")
    results = []
    for when in node.nodes("args"):
        results.append(judge(when.result, scope.guarded_by(when.expr)))
        scope = scope.guarded_by(when.expr, is_true=False)
    results.append(judge(node.defresult, scope))
    return any_of(results, "no branch of CASE is NULL")


def _is_null(node: Node) -> bool:
    return node.kind == "CONST" and node.flag("constisnull")


def _value_function(node: Node, scope: Scope) -> Nullability:
    if node.fields.get("op") is None or node.number("op") >= _SCHEMA:
        return maybe("there may be no current schema")
    return never("it is known to the server")


def _any_or_all_of_array(node: Node, scope: Scope) -> Nullability:
    function, name = scope.inference.operator(node)
    value, array = node.nodes("args")
    parts = [judge(value, scope), judge(array, scope), _elements(array, scope)]
    whole = strict(parts, "there is no NULL among the elements")
    return without_relation(calls.of_operator(function, name, whole))


def _elements(array: Node, scope: Scope) -> Nullability:
    if array.kind == "ARRAYEXPR":
        return _all_of(array.nodes("elements"), scope)
    if array.kind in ("ARRAYCOERCEEXPR", "RELABELTYPE"):
        return _elements(array.arg, scope)
    if array.kind == "CONST" and isinstance(array.constvalue, Datum):
        # struct ArrayType: size, dimensions, offset of the data (0: no NULLs), element type
        size, _, offset = struct.unpack_from("<iii", array.constvalue.ljust(12, b"\xff"))
        if size == len(array.constvalue) << 2 and offset == 0:
            return CONSTANT
    return maybe("the array may hold NULLs")


def _sublink(node: Node, scope: Scope) -> Nullability:
    kind = node.subLinkType
    if kind == _EXISTS:
        return never("EXISTS is true or false")
    if kind == _ARRAY:
        return never("ARRAY(...) of no rows is empty")
    query = scope.below(node.subselect)
    if kind == _SCALAR:
        if not has_one_row(query.query):
            return maybe("the subquery may find no row")
        return without_relation(query.output(1))
    if kind in (_ANY, _ALL) and node.testexpr is not None:
        return without_relation(judge(node.testexpr, replace(scope, compared=query)))
    return maybe("nothing is known of this subquery")


def _json_constructor(node: Node, scope: Scope) -> Nullability:
    if node.type in (_JSON_OBJECT, _JSON_ARRAY) and node.coercion is None:
        return never("it makes a JSON document")
    return maybe("it may make no JSON document")


def _json_test(node: Node, scope: Scope) -> Nullability:
    return judge(node.expr, scope)


_RULES: dict[str, Callable[[Node, Scope], Nullability]] = {
    "VAR": _variable,
    "CONST": _constant,
    "PARAM": _parameter,
    "FUNCEXPR": calls.function,
    "OPEXPR": calls.operator,
    "AGGREF": calls.aggregate,
    "WINDOWFUNC": calls.window,
    "SCALARARRAYOPEXPR": _any_or_all_of_array,
    "BOOLEXPR": _boolean,
    "COALESCEEXPR": _first_that_is_not("COALESCE"),
    "MINMAXEXPR": _first_that_is_not("GREATEST, LEAST"),
    "CASEEXPR": _case,
    "NULLTEST": _always("IS NULL is true or false"),
    "BOOLEANTEST": _always("IS TRUE is true or false"),
    "DISTINCTEXPR": _distinct,
    "SUBLINK": _sublink,
    "ARRAYEXPR": _always("ARRAY[...]"),
    "ROWEXPR": _always("ROW(...)"),
    "SQLVALUEFUNCTION": _value_function,
    "GROUPINGFUNC": _always("GROUPING() is a number"),
    "MERGESUPPORTFUNC": _always("every row has its action"),
    "RELABELTYPE": _of_argument,
    "COERCEVIAIO": _of_argument,
    "ARRAYCOERCEEXPR": _of_argument,
    "CONVERTROWTYPEEXPR": _of_argument,
    "COERCETODOMAIN": _of_argument,
    "COLLATEEXPR": _of_argument,
    "NAMEDARGEXPR": _of_argument,
    "JSONCONSTRUCTOREXPR": _json_constructor,
    "JSONISPREDICATE": _json_test,
}
