"""The table to which a statement writes its rows, by its name or through views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.catalog import Catalog
from sqla_typedpool.describe.postgres.nodes import Node, nodes_in
from sqla_typedpool.describe.postgres.targets import WrittenColumn, WrittenRelation

_WRITES = (pg.CommandType.INSERT, pg.CommandType.UPDATE, pg.CommandType.MERGE)
_TABLES = (pg.RelationKind.TABLE, pg.RelationKind.PARTITIONED)


class _Step(NamedTuple):
    """A relation on the way from the one that a statement names to the table."""

    oid: int
    # Whether rows of child tables are written too.
    inherits: bool
    # Of a view: from its columns to those of the next relation, in which their values are stored.
    columns: Mapping[int, int] | None


@dataclass(frozen=True)
class Target:
    """The table to which a statement writes."""

    table: WrittenRelation
    # Whether rows of child tables are written too.
    inherits: bool
    # From the columns of the relation that the statement names to the columns of the table.
    columns: Mapping[int, int]
    # The columns of the table that have a default of their own, or in a view.
    with_default: frozenset[int]

    def column(self, number: int) -> WrittenColumn | None:
        """Return a column of the table; None if it is unknown.

        :param number: of the column in the relation that the statement names.
        """
        return self.table.columns.get(self.columns.get(number, 0))


def is_write(query: Node) -> bool:
    """Return whether a query writes rows. DELETE does not."""
    return query.kind == "QUERY" and query.commandType in _WRITES


def may_be_replaced(query: Node, catalog: Catalog) -> bool:
    """Return whether a rule may replace a query: its CTEs are not executed then."""
    return query.number("resultRelation") > 0 and not _path(query, catalog)


def relations_written(tree: Node | None, catalog: Catalog) -> set[int]:
    """Return the OIDs of the relations to which a statement writes, views and their tables."""
    written = filter(is_write, nodes_in(tree))
    return {step.oid for query in written for step in _path(query, catalog)}


def write_facts(
    tree: Node | None, catalog: Catalog, written: Mapping[int, WrittenRelation]
) -> list[str]:
    """Return what the relations to which a statement writes add to its fingerprint.

    Of their columns only those count that the statement names, and those that have a part in what
    happens to a row in which they are left out.
    """
    return [
        fact
        for query in filter(is_write, nodes_in(tree))
        for fact in _facts_of_path(query, _path(query, catalog), written)
    ]


def _facts_of_path(
    query: Node, path: Sequence[_Step], written: Mapping[int, WrittenRelation]
) -> Iterator[str]:
    actions = [query.fields.get(name) for name in ("targetList", "onConflict", "mergeActionList")]
    entries = (each for each in nodes_in(actions, subqueries=False) if each.kind == "TARGETENTRY")
    named = {each.number("resno") for each in entries}
    for step in path:
        relation = written.get(step.oid)
        if relation is None:
            continue
        yield relation.facts
        for number, column in relation.columns.items():
            is_view = step.columns is not None
            if number in named or (column.is_given if is_view else column.is_required):
                yield f"written column {column}"
        named = {own for view, own in (step.columns or {}).items() if view in named}


def target_of(
    query: Node, catalog: Catalog, written: Mapping[int, WrittenRelation]
) -> Target | None:
    """Return the table to which a query writes; None if rules may change that, or it is unknown."""
    path = _path(query, catalog)
    if not path or path[-1].columns is not None or any(each.oid not in written for each in path):
        return None
    table = written[path[-1].oid]
    if table.kind not in _TABLES:
        return None
    columns: Mapping[int, int] = {number: number for number in table.columns}
    defaults = {number for number, each in table.columns.items() if each.is_given}
    for step in reversed(path[:-1]):
        columns = _through(step, columns)
        of_view = written[step.oid].columns.items()
        defaults |= {columns[own] for own, each in of_view if each.is_given and own in columns}
    return Target(table, path[-1].inherits, columns, frozenset(defaults))


def _through(view: _Step, columns: Mapping[int, int]) -> Mapping[int, int]:
    """Return the columns of the table behind those of a view.

    :param columns: the same of the relation below the view.
    """
    stored = (view.columns or {}).items()
    return {own: columns[below] for own, below in stored if below in columns}


def _path(query: Node, catalog: Catalog) -> Sequence[_Step]:
    """Return the relation that a query names, and those below it if it is a view.

    The path ends early where rules or INSTEAD OF triggers take over.
    """
    entry = query.nodes("rtable")[query.number("resultRelation") - 1]
    path: list[_Step] = []
    while entry is not None:
        oid = entry.number("relid")
        relation = catalog.relations.get(oid)
        if relation is None or relation.has_rules:
            return ()
        view = relation.view
        columns = None if view is None else _stored_columns(view)
        path.append(_Step(oid, entry.flag("inh"), columns))
        entry = None if view is None else _only_entry(view)
    return path


def _only_entry(view: Node) -> Node | None:
    """Return the only relation of a view's FROM clause; None if there are none or more."""
    items = view.jointree.nodes("fromlist")
    if len(items) != 1 or items[0].kind != "RANGETBLREF":
        return None
    entry: Node = view.nodes("rtable")[items[0].number("rtindex") - 1]
    return entry if entry.rtekind == pg.RteKind.RELATION else None


def _stored_columns(view: Node) -> Mapping[int, int]:
    """Return the columns of a view that are those of its only relation, unchanged."""
    entries = view.nodes("targetList")
    return {
        entry.number("resno"): entry.expr.number("varattno")
        for entry in entries
        if entry.expr.kind == "VAR" and not entry.flag("resjunk")
    }
