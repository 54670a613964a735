"""UNION, INTERSECT, EXCEPT: a column of the whole, by the same column of its arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .catalogue import BUILT_IN
from .expressions import type_of
from .nodes import Node
from .nullness import Nullness, any_of, maybe

if TYPE_CHECKING:
    from .nullability import Level

__all__ = ["combined"]

_INTERSECT, _EXCEPT = "2", "3"


def combined(level: Level, node: Node, number: int) -> Nullness:
    """A column of a set operation, or of one of its arms."""
    if node.kind != "SETOPERATIONSTMT":
        return level.below(level.entry(int(node.rtindex)).subquery).output(number)
    left, right = (_arm(level, arm, node, number) for arm in (node.larg, node.rarg))
    if node.op == _INTERSECT:  # a row of it is a row of both
        return right if left.nullable else left
    if node.op == _EXCEPT:
        return left
    return any_of([left, right], "no arm of UNION is NULL")


def _arm(level: Level, arm: Node, node: Node, number: int) -> Nullness:
    """An arm's column, after it has been made the type that the arms have in common."""
    wanted = int(node.nodes("colTypes")[number - 1])
    given = _type_of_arm(level, arm, number)
    if given != wanted and (wanted >= BUILT_IN or given >= BUILT_IN):
        return maybe("an arm is cast by a function of the application")
    return combined(level, arm, number)


def _type_of_arm(level: Level, arm: Node, number: int) -> int:
    if arm.kind == "SETOPERATIONSTMT":
        return int(arm.nodes("colTypes")[number - 1])
    entries = level.below(level.entry(int(arm.rtindex)).subquery).entries
    return type_of(entries[number - 1].expr)
