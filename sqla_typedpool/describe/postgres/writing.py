"""RETURNING: which rows it is about, and who answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqla_typedpool.describe.postgres.catalog import Relation
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.relations import STORED

if TYPE_CHECKING:
    from sqla_typedpool.describe.postgres.nullability import Scope

_SELECT, _UPDATE, _INSERT, _DELETE, _MERGE = "1", "2", "3", "4", "5"
_PLAIN, _OLD, _NEW = 0, 1, 2
_THERE = {_UPDATE: (_PLAIN, _OLD, _NEW), _INSERT: (_PLAIN, _NEW), _DELETE: (_PLAIN, _OLD)}
_MATCHED, _NOT_MATCHED_BY_TARGET = "0", "2"
_RELATION = "0"


def is_new_row(query: Node, relation: int) -> bool:
    """Whether the relation is what the statement writes to, its row as it is afterwards."""
    return relation == query.number("resultRelation") and query.commandType != _DELETE


def may_be_no_row(query: Node, relation: int, returning: int) -> bool:
    """Whether RETURNING may find no row of this relation.

    :param returning: which row of the target is asked for: 1 = OLD, 2 = NEW.
    """
    if returning not in _THERE.get(query.commandType, (_PLAIN,)):
        return True
    if query.commandType != _MERGE or relation == query.number("resultRelation"):
        return False
    kinds = {action.matchKind for action in query.nodes("mergeActionList")}
    return not kinds <= {_MATCHED, _NOT_MATCHED_BY_TARGET}  # NOT MATCHED BY SOURCE has none


def is_answered_by_others(scope: Scope) -> bool:
    """Whether RETURNING may tell of rows that a rule or an INSTEAD OF trigger has made."""
    target = scope.query.number("resultRelation")
    return bool(target) and _may_answer(scope, scope.relation(scope.entry(target)))


def _may_answer(scope: Scope, relation: Relation | None) -> bool:
    if relation is None or relation.has_rules or relation.kind not in (*STORED, "v"):
        return True
    if relation.view is None:
        return False
    view = scope.of_view(relation.view, is_written=True)
    entries = [each for each in relation.view.nodes("rtable") if _is_read(each)]
    return any(_may_answer(view, view.relation(each)) for each in entries)


def _is_read(entry: Node) -> bool:
    """Not the OLD and NEW of the view's own rule."""
    return entry.rtekind == _RELATION and entry.flag("inFromCl")
