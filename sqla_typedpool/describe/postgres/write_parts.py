"""The parts of a statement that write rows, read from its analysed tree.

The tree is analysed, not rewritten: the word DEFAULT is a node of its own, an INSERT contains only
the columns that it names, and the target may be a view. Whatever may change or skip a row before it
is checked (rules, INSTEAD OF and BEFORE triggers, foreign tables) leaves a part out: reported is
only what is certain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.nodes import Node
from sqla_typedpool.describe.postgres.row_conditions import (
    all_parameters,
    deciding_parameters,
    parameters_of,
    restricting_parameters,
)
from sqla_typedpool.describe.postgres.scope import Scope
from sqla_typedpool.describe.postgres.single_rows import single_rows
from sqla_typedpool.describe.postgres.targets import WrittenColumn, WrittenRelation
from sqla_typedpool.describe.postgres.write_targets import (
    Target,
    is_write,
    may_be_replaced,
    target_of,
)
from sqla_typedpool.describe.writes import WriteAction

_EVENTS = {
    WriteAction.INSERT: pg.TriggerEvent.INSERT,
    WriteAction.MERGE_INSERT: pg.TriggerEvent.INSERT,
}
_INSERTS = frozenset(_EVENTS)


@dataclass(frozen=True)
class Part:
    """A part of a statement that writes rows: SET, or the values of INSERT."""

    action: WriteAction
    # In which its values are evaluated.
    scope: Scope
    # The entries of its target list, by column.
    entries: Sequence[Node]
    target: Target
    # The names of the parameters that may decide whether it writes a row.
    deciding: frozenset[str]
    # An `Overriding`.
    override: str | None = None

    @property
    def is_insert(self) -> bool:
        """Whether it writes new rows."""
        return self.action in _INSERTS

    def ignores(self, column: WrittenColumn) -> bool:
        """Return whether values for a column are ignored: OVERRIDING USER VALUE."""
        return column.is_identity and self.override == pg.Overriding.USER_VALUE


def parts(scope: Scope, written: Mapping[int, WrittenRelation]) -> Iterator[Part]:
    """Yield the parts of a statement, those of its CTEs first.

    :param scope: of the whole statement.
    :param written: the relations to which it writes.
    """
    query, catalog = scope.query, scope.inference.catalog
    if may_be_replaced(query, catalog):
        return
    for cte in query.nodes("cteList"):
        yield from parts(scope.subquery(cte.ctequery), written)
    target = target_of(query, catalog, written) if is_write(query) else None
    if target is not None:
        found = _PARTS[query.commandType](scope, target)
        yield from filter(_is_certain, found)


def _is_certain(part: Part) -> bool:
    event = _EVENTS.get(part.action, pg.TriggerEvent.UPDATE)
    inherits = part.target.inherits and not part.is_insert
    return not part.target.table.may_change_rows(event, inherits=inherits)


def _of_insert(scope: Scope, target: Target) -> Iterator[Part]:
    query = scope.query
    entries, rows = query.nodes("targetList"), single_rows(query)
    for each in rows.queries:
        inner = replace(scope, query=each)
        deciding = deciding_parameters(inner)
        yield Part(WriteAction.INSERT, inner, entries, target, deciding, query.override)
    if not rows.is_complete:  # the parameters of the certain rows are dealt with above
        deciding = deciding_parameters(scope) | all_parameters(rows.queries, scope)
        yield Part(WriteAction.INSERT, scope, entries, target, deciding, query.override)
    conflict = query.onConflict
    if conflict is not None and conflict.nodes("onConflictSet"):
        yield _of_conflict(scope, target, conflict)


def _of_conflict(scope: Scope, target: Target, conflict: Node) -> Part:
    """Return ON CONFLICT DO UPDATE. Which rows conflict depends on the values of the key."""
    condition, entries = conflict.onConflictWhere, conflict.nodes("onConflictSet")
    inner = _assigning(scope, entries, condition)
    keys = [conflict.arbiterElems, conflict.arbiterWhere, *_key_values(scope.query, target)]
    deciding = (
        deciding_parameters(scope)
        | restricting_parameters(condition, inner)
        | parameters_of(keys, scope)
    )
    return Part(WriteAction.CONFLICT_UPDATE, inner, entries, target, deciding)


def _key_values(query: Node, target: Target) -> list[Any]:
    """Return the inserted values on which it depends whether a row conflicts.

    These are all values if it may depend on more than those of the key: in a partial index, for an
    expression or a generated column, and if a BEFORE trigger may change the row.
    """
    values, conflict = query.nodes("targetList"), query.onConflict
    keys = [each.expr for each in conflict.nodes("arbiterElems")]
    numbers = {each.number("varattno") for each in keys if each.kind == "VAR"}
    inserted = {each.number("resno") for each in values}
    is_plain = len(numbers) == len(keys) > 0 and numbers <= inserted
    is_changed = target.table.may_change_rows(pg.TriggerEvent.INSERT, inherits=False)
    if not is_plain or is_changed or conflict.arbiterWhere is not None:
        numbers = inserted
    return [each.expr for each in values if each.number("resno") in numbers]


def _of_update(scope: Scope, target: Target) -> Iterator[Part]:
    entries = scope.query.nodes("targetList")
    inner = _assigning(scope, entries)
    yield Part(WriteAction.UPDATE, inner, entries, target, deciding_parameters(scope))


def _of_merge(scope: Scope, target: Target) -> Iterator[Part]:
    query, deciding = scope.query, deciding_parameters(scope)
    around = _without_join_condition(scope)
    scopes: dict[Any, Scope] = {}
    for each in query.nodes("mergeActionList"):
        kind = each.fields.get("matchKind"), each.flag("matched")
        scope, entries = scopes.get(kind, around), each.nodes("targetList")
        inner = _assigning(scope, entries, each.qual, _join_condition(query, each))
        own = deciding | restricting_parameters(each.qual, inner)
        if each.commandType == pg.CommandType.INSERT:
            yield Part(WriteAction.MERGE_INSERT, inner, entries, target, own, each.override)
        elif each.commandType == pg.CommandType.UPDATE:
            yield Part(WriteAction.MERGE_UPDATE, inner, entries, target, own)
        if each.qual is not None:  # where it is true, no later clause of the kind is used
            deciding |= parameters_of(each.qual, scope)
            scopes[kind] = scope.unless_true(each.qual)


def _without_join_condition(scope: Scope) -> Scope:
    """Return a MERGE for the rows of its source, also those for which ON is not true.

    PostgreSQL 15 and 16 have the condition of ON in the place of WHERE.
    """
    tree = scope.query.jointree
    tree = Node(tree.kind, tree.fields | {"quals": None})
    return replace(scope, query=Node(scope.query.kind, scope.query.fields | {"jointree": tree}))


def _join_condition(query: Node, action: Node) -> Node | None:
    """Return the condition of ON if it is true where a WHEN clause updates a row."""
    is_matched = action.fields.get("matchKind") == pg.MergeMatchKind.MATCHED
    if not is_matched and not action.flag("matched"):  # PostgreSQL 15 and 16 have `matched`
        return None
    found: Node | None = query.mergeJoinCondition or query.jointree.quals
    return found


def _assigning(scope: Scope, entries: Sequence[Node], *conditions: Node | None) -> Scope:
    """Return a scope for the values of SET or MERGE, where the conditions are true."""
    for condition in conditions:
        if condition is not None:
            scope = scope.if_true(condition)
    return replace(scope, assignments=entries)


_PARTS = {
    pg.CommandType.INSERT: _of_insert,
    pg.CommandType.UPDATE: _of_update,
    pg.CommandType.MERGE: _of_merge,
}
