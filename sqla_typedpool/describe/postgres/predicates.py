"""What a condition that is true says: these columns are not NULL.

PostgreSQL's own reasoning (``find_nonnullable_vars``): the executor never calls a strict
function with NULL, so a comparison that is true had two values.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from sqla_typedpool.describe.postgres.catalog import BUILT_IN, Catalog
from sqla_typedpool.describe.postgres.nodes import Datum, Node

_NONE: frozenset[ColumnRef] = frozenset()
_SAME_VALUE = frozenset({"RELABELTYPE", "ARRAYCOERCEEXPR", "COLLATEEXPR"})
_IS_NULL, _IS_NOT_NULL = "0", "1"
_ANY_SUBLINK = "2"


class Outcome(Enum):
    """What is known of a condition or a value."""

    TRUE = 1
    FALSE = 2
    NOT_NULL = 3


_OPPOSITE = {Outcome.TRUE: Outcome.FALSE, Outcome.FALSE: Outcome.TRUE}
# (kind of test, its outcome) -> that of what is tested: x IS TRUE, x IS NOT FALSE, ...
_TESTED = {
    ("0", Outcome.TRUE): Outcome.TRUE,
    ("1", Outcome.FALSE): Outcome.TRUE,
    ("2", Outcome.TRUE): Outcome.FALSE,
    ("3", Outcome.FALSE): Outcome.FALSE,
    ("4", Outcome.FALSE): Outcome.NOT_NULL,
    ("5", Outcome.TRUE): Outcome.NOT_NULL,
}


class ColumnRef(NamedTuple):
    """A column as a tree names it; number 0 is the whole row."""

    levels_up: int
    relation: int
    number: int


def not_null_if_true(condition: Node | None, catalog: Catalog) -> frozenset[ColumnRef]:
    """The columns that are not NULL in a row for which the condition is true."""
    return _named(condition, Outcome.TRUE, catalog)


def not_null_unless_true(condition: Node | None, catalog: Catalog) -> frozenset[ColumnRef]:
    """The columns that are not NULL where the condition is false or NULL: ``x IS NULL``."""
    if condition is None:
        return _NONE
    if condition.kind == "NULLTEST":  # which is never NULL itself
        return _named(condition, Outcome.FALSE, catalog)
    if condition.kind != "BOOLEXPR" or condition.boolop == "and":
        return _NONE
    arguments = condition.nodes("args")
    if condition.boolop == "or":
        return _NONE.union(*(not_null_unless_true(each, catalog) for each in arguments))
    is_test = arguments[0].kind == "NULLTEST"
    return _named(arguments[0], Outcome.TRUE, catalog) if is_test else _NONE


def _named(node: object, outcome: Outcome, catalog: Catalog) -> frozenset[ColumnRef]:
    """The columns that are not NULL if this is the outcome of the node."""
    if not isinstance(node, Node):
        return _NONE
    kind = node.kind
    if kind == "VAR":
        return _variable(node)
    if kind in ("OPEXPR", "FUNCEXPR"):
        return _all(node.nodes("args"), catalog) if _is_strict(node, catalog) else _NONE
    if kind == "SCALARARRAYOPEXPR":
        known = _is_strict(node, catalog) and _has_compared(node, outcome)
        return _all(node.nodes("args"), catalog) if known else _NONE
    if kind == "BOOLEXPR":
        return _of_boolean(node, outcome, catalog)
    if kind in _SAME_VALUE:
        return _named(node.arg, outcome, catalog)
    if kind == "COERCEVIAIO":
        return _named(node.arg, Outcome.NOT_NULL, catalog)
    return _of_test(node, outcome, catalog)


def _variable(node: Node) -> frozenset[ColumnRef]:
    if node.number("varreturningtype"):  # OLD and NEW are rows of their own
        return _NONE
    number = max(int(node.varattno), 0)  # of system columns, it is known that the row is there
    return frozenset({ColumnRef(node.number("varlevelsup"), int(node.varno), number)})


def _all(nodes: list[Node], catalog: Catalog) -> frozenset[ColumnRef]:
    return _NONE.union(*(_named(each, Outcome.NOT_NULL, catalog) for each in nodes))


def _has_compared(node: Node, outcome: Outcome) -> bool:
    """Whether the value was compared at all: of an empty array, ANY is false and ALL true."""
    if outcome is (Outcome.TRUE if node.flag("useOr") else Outcome.FALSE):
        return True
    array = node.nodes("args")[1]
    if array.kind == "CONST" and isinstance(array.constvalue, Datum):
        return array.constvalue[4:8] not in (b"", b"\0\0\0\0")  # struct ArrayType: dimensions
    has_elements = array.kind == "ARRAYEXPR" and bool(array.nodes("elements"))
    return has_elements and not array.flag("multidims")


def _of_boolean(node: Node, outcome: Outcome, catalog: Catalog) -> frozenset[ColumnRef]:
    if node.boolop == "not":
        (inner,) = node.nodes("args")
        if _has_foreign_operator(
            inner
        ):  # the planner takes its negator, and that may not be strict
            return _NONE
        return _named(inner, _OPPOSITE.get(outcome, outcome), catalog)
    parts = [_named(each, outcome, catalog) for each in node.nodes("args")]
    if outcome is (Outcome.TRUE if node.boolop == "and" else Outcome.FALSE):
        return _NONE.union(*parts)  # it is the outcome of all of them
    # nobody knows which of them has decided: FALSE AND NULL is FALSE, TRUE OR NULL is TRUE
    return frozenset.intersection(*parts)


def _has_foreign_operator(value: object) -> bool:
    if isinstance(value, list):
        return any(map(_has_foreign_operator, value))
    if not isinstance(value, Node):
        return False
    return value.number("opno") >= BUILT_IN or _has_foreign_operator(list(value.fields.values()))


def _of_test(node: Node, outcome: Outcome, catalog: Catalog) -> frozenset[ColumnRef]:
    if node.kind == "NULLTEST":
        return _of_null_test(node, outcome, catalog)
    if node.kind == "BOOLEANTEST":
        tested = _TESTED.get((node.booltesttype, outcome))
        return _NONE if tested is None else _named(node.arg, tested, catalog)
    if outcome is Outcome.FALSE and node.kind == "DISTINCTEXPR":
        return _of_sameness(node.nodes("args"), catalog)
    is_true = outcome is Outcome.TRUE
    if is_true and node.kind == "SUBLINK" and node.subLinkType == _ANY_SUBLINK:
        return _named(node.testexpr, Outcome.NOT_NULL, catalog)  # x IN (SELECT ...)
    return _NONE


def _of_sameness(sides: list[Node], catalog: Catalog) -> frozenset[ColumnRef]:
    """``x IS NOT DISTINCT FROM 7``."""
    if any(side.kind == "CONST" and not side.flag("constisnull") for side in sides):
        return _all(sides, catalog)
    return _NONE


def _of_null_test(node: Node, outcome: Outcome, catalog: Catalog) -> frozenset[ColumnRef]:
    if (node.nulltesttype, outcome) == (_IS_NOT_NULL, Outcome.TRUE):
        if node.arg.kind == "ROWEXPR":  # of a row, it is about its fields
            return _all(node.arg.nodes("args"), catalog) if node.flag("argisrow") else _NONE
        return _named(node.arg, Outcome.NOT_NULL, catalog)
    is_not_null = (node.nulltesttype, outcome) == (_IS_NULL, Outcome.FALSE)
    if is_not_null and not node.flag("argisrow"):
        return _named(node.arg, Outcome.NOT_NULL, catalog)
    return _NONE


def _is_strict(node: Node, catalog: Catalog) -> bool:
    if node.flag("funcretset") or node.flag("opretset"):
        return False
    number = node.number("funcid") or node.number("opfuncid")
    if not number:
        number = catalog.operators.get(node.number("opno"), (0, ""))[0]
    function = catalog.functions.get(number)
    return function is not None and function.is_strict and not function.may_be_simplified
