"""UNION, INTERSECT, EXCEPT: a column of the whole, by the same column of its arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqla_typedpool.describe.nullability import Nullability, any_of, maybe
from sqla_typedpool.describe.postgres.catalog import BUILT_IN
from sqla_typedpool.describe.postgres.expressions import type_of
from sqla_typedpool.describe.postgres.nodes import Node

if TYPE_CHECKING:
    from sqla_typedpool.describe.postgres.nullability import Scope

_INTERSECT, _EXCEPT = "2", "3"


def combined(scope: Scope, node: Node, number: int) -> Nullability:
    """A column of a set operation, or of one of its arms."""
    if node.kind != "SETOPERATIONSTMT":
        return scope.below(scope.entry(int(node.rtindex)).subquery).output(number)
    left, right = (_arm(scope, arm, node, number) for arm in (node.larg, node.rarg))
    if node.op == _INTERSECT:  # a row of it is a row of both
        return right if left.nullable else left
    if node.op == _EXCEPT:
        return left
    return any_of([left, right], "no arm of UNION is NULL")


def _arm(scope: Scope, arm: Node, node: Node, number: int) -> Nullability:
    """An arm's column, after it has been made the type that the arms have in common."""
    wanted = int(node.nodes("colTypes")[number - 1])
    given = _type_of_arm(scope, arm, number)
    if given != wanted and (wanted >= BUILT_IN or given >= BUILT_IN):
        return maybe("an arm is cast by a function of the application")
    return combined(scope, arm, number)


def _type_of_arm(scope: Scope, arm: Node, number: int) -> int:
    if arm.kind == "SETOPERATIONSTMT":
        return int(arm.nodes("colTypes")[number - 1])
    entries = scope.below(scope.entry(int(arm.rtindex)).subquery).entries
    return type_of(entries[number - 1].expr)
