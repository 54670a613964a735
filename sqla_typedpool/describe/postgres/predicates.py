"""Which columns are not NULL in the rows for which a condition is true.

The rules are those of PostgreSQL's own ``find_nonnullable_vars`` (optimizer/util/clauses.c): the
executor never calls a strict function with NULL, so both operands of a comparison that is true
were not NULL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum
from typing import NamedTuple

from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.catalog import BUILT_IN, Catalog
from sqla_typedpool.describe.postgres.nodes import Datum, Node, nodes_in


class ColumnRef(NamedTuple):
    """A column as a node tree refers to it."""

    # 0 = of this query, 1 = of the query around it, ...
    levels_up: int
    # Index in that query's range table, from 1.
    relation: int
    # The column's number, from 1; 0 is the whole row.
    number: int


ColumnRefs = frozenset[ColumnRef]


class Outcome(Enum):
    """What is known of the value of an expression."""

    TRUE = 1
    FALSE = 2
    NOT_NULL = 3


_NONE: ColumnRefs = frozenset()
# A field that `mark_lists` adds to nodes.
COMPARES_LIST = "compares_list"
_SAME_VALUE = frozenset({"RELABELTYPE", "ARRAYCOERCEEXPR", "COLLATEEXPR"})
_OPPOSITE = {Outcome.TRUE: Outcome.FALSE, Outcome.FALSE: Outcome.TRUE}
# (test, its outcome) -> the outcome of the expression that is tested
_TESTED = {
    (pg.BoolTestType.IS_TRUE, Outcome.TRUE): Outcome.TRUE,
    (pg.BoolTestType.IS_NOT_TRUE, Outcome.FALSE): Outcome.TRUE,
    (pg.BoolTestType.IS_FALSE, Outcome.TRUE): Outcome.FALSE,
    (pg.BoolTestType.IS_NOT_FALSE, Outcome.FALSE): Outcome.FALSE,
    (pg.BoolTestType.IS_UNKNOWN, Outcome.FALSE): Outcome.NOT_NULL,
    (pg.BoolTestType.IS_NOT_UNKNOWN, Outcome.TRUE): Outcome.NOT_NULL,
}


def not_null_if_true(condition: Node | None, catalog: Catalog) -> ColumnRefs:
    """Return the columns that are not NULL in a row for which the condition is true."""
    return _not_null(condition, Outcome.TRUE, catalog)


def not_null_unless_true(condition: Node | None, catalog: Catalog) -> ColumnRefs:
    """Return the columns that are not NULL where the condition is false or NULL: ``x IS NULL``."""
    if condition is None:
        return _NONE
    if condition.kind == "NULLTEST":  # it is never NULL itself
        return _not_null(condition, Outcome.FALSE, catalog)
    if condition.kind != "BOOLEXPR" or condition.boolop == "and":
        return _NONE
    arguments = condition.nodes("args")
    if condition.boolop == "or":
        return _NONE.union(*(not_null_unless_true(each, catalog) for each in arguments))
    is_test = arguments[0].kind == "NULLTEST"
    return _not_null(arguments[0], Outcome.TRUE, catalog) if is_test else _NONE


def _not_null(node: object, outcome: Outcome, catalog: Catalog) -> ColumnRefs:
    """Return the columns that are not NULL where the node has this outcome."""
    if not isinstance(node, Node):
        return _NONE
    kind = node.kind
    if kind == "VAR":
        return _of_variable(node)
    if node.flag(COMPARES_LIST) and not _has_element(node, outcome, catalog):
        return _NONE
    if kind in ("OPEXPR", "FUNCEXPR"):
        return _of_call(node, catalog)
    if kind == "SCALARARRAYOPEXPR":
        return _of_call(node, catalog) if _compares_elements(node, outcome) else _NONE
    if kind == "BOOLEXPR":
        return _of_boolean(node, outcome, catalog)
    if kind in _SAME_VALUE:
        return _not_null(node.arg, outcome, catalog)
    if kind == "COERCEVIAIO":
        return _not_null(node.arg, Outcome.NOT_NULL, catalog)
    return _of_test(node, outcome, catalog)


def _of_variable(node: Node) -> ColumnRefs:
    if node.number("varreturningtype"):  # OLD and NEW are other rows
        return _NONE
    number = max(int(node.varattno), 0)  # a system column shows that the row exists
    return frozenset({ColumnRef(node.number("varlevelsup"), int(node.varno), number)})


def _of_call(node: Node, catalog: Catalog) -> ColumnRefs:
    """Return the columns among the arguments of a strict function or operator."""
    if node.flag("funcretset") or node.flag("opretset"):
        return _NONE
    oid = node.number("funcid") or node.number("opfuncid")
    if not oid:
        oid, _ = catalog.operators.get(node.number("opno"), (0, ""))
    function = catalog.functions.get(oid)
    if function is None or not function.is_strict or function.may_be_simplified:
        return _NONE
    return _all_not_null(node.nodes("args"), catalog)


def _all_not_null(nodes: Iterable[Node], catalog: Catalog) -> ColumnRefs:
    return _NONE.union(*(_not_null(each, Outcome.NOT_NULL, catalog) for each in nodes))


def _has_element(node: Node, outcome: Outcome, catalog: Catalog) -> bool:
    """Return whether the list of ``x IN ($1)`` is certainly not empty: ``=`` was true for one."""
    _, name = catalog.operators.get(node.number("opno"), (0, ""))
    return outcome is Outcome.TRUE and name == "="


def mark_lists(tree: Node | None, numbers: Collection[int]) -> None:
    """Mark the comparisons with a list of any length, which was sent as a list of one element.

    For an empty list ``x IN :ids`` is false, and ``x NOT IN :ids`` is true, also where x is NULL.

    :param numbers: the numbers of the placeholders, from 1.
    """
    for node in nodes_in(tree) if numbers else ():
        is_operator = node.kind in ("OPEXPR", "SCALARARRAYOPEXPR")
        if is_operator and any(
            each.kind == "PARAM" and each.number("paramid") in numbers
            for each in nodes_in(node.nodes("args")[1:], subqueries=False)
        ):
            node.fields[COMPARES_LIST] = "true"


def _compares_elements(node: Node, outcome: Outcome) -> bool:
    """Return whether ANY or ALL has compared an element.

    For an empty array it has not: ANY is false, and ALL is true.
    """
    if outcome is (Outcome.TRUE if node.flag("useOr") else Outcome.FALSE):
        return True
    array = node.nodes("args")[1]
    if array.kind == "CONST" and isinstance(array.constvalue, Datum):
        # ArrayType, utils/array.h: the size in 4 bytes, then the number of dimensions
        return array.constvalue[4:8] not in (b"", b"\0\0\0\0")
    has_elements = array.kind == "ARRAYEXPR" and bool(array.nodes("elements"))
    return has_elements and not array.flag("multidims")


def _of_boolean(node: Node, outcome: Outcome, catalog: Catalog) -> ColumnRefs:
    arguments = node.nodes("args")
    if node.boolop == "not":
        # The planner replaces NOT of an operator by its negator. That of an application's own
        # operator need not be strict.
        if any(each.number("opno") >= BUILT_IN for each in nodes_in(arguments)):
            return _NONE
        return _not_null(arguments[0], _OPPOSITE.get(outcome, outcome), catalog)
    parts = [_not_null(each, outcome, catalog) for each in arguments]
    if outcome is (Outcome.TRUE if node.boolop == "and" else Outcome.FALSE):
        return _NONE.union(*parts)  # all arguments have this outcome
    # Any of the arguments may have decided: FALSE AND NULL is FALSE, TRUE OR NULL is TRUE.
    return frozenset.intersection(*parts)


def _of_test(node: Node, outcome: Outcome, catalog: Catalog) -> ColumnRefs:
    if node.kind == "NULLTEST":
        return _of_null_test(node, outcome, catalog)
    if node.kind == "BOOLEANTEST":
        tested = _TESTED.get((node.booltesttype, outcome))
        return _NONE if tested is None else _not_null(node.arg, tested, catalog)
    if outcome is Outcome.FALSE and node.kind == "DISTINCTEXPR":
        return _of_equal(node.nodes("args"), catalog)
    is_true = outcome is Outcome.TRUE
    if is_true and node.kind == "SUBLINK" and node.subLinkType == pg.SubLinkType.ANY:
        return _not_null(node.testexpr, Outcome.NOT_NULL, catalog)  # x IN (SELECT ...)
    return _NONE


def _of_equal(sides: list[Node], catalog: Catalog) -> ColumnRefs:
    """Return the columns of ``x IS NOT DISTINCT FROM 7``."""
    if any(side.kind == "CONST" and not side.flag("constisnull") for side in sides):
        return _all_not_null(sides, catalog)
    return _NONE


def _of_null_test(node: Node, outcome: Outcome, catalog: Catalog) -> ColumnRefs:
    is_row = node.flag("argisrow")
    test = node.nulltesttype, outcome
    if test == (pg.NullTestType.IS_NOT_NULL, Outcome.TRUE):
        if node.arg.kind == "ROWEXPR":  # true if each field of the row is not NULL
            return _all_not_null(node.arg.nodes("args"), catalog) if is_row else _NONE
        return _not_null(node.arg, Outcome.NOT_NULL, catalog)
    # Of a row, the opposite of IS NULL means only that not every field is NULL.
    if test == (pg.NullTestType.IS_NULL, Outcome.FALSE) and not is_row:
        return _not_null(node.arg, Outcome.NOT_NULL, catalog)
    return _NONE
