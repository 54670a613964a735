"""The catalog facts that a description depends on, by name, for its fingerprint.

Of a table only the columns that the statement names count: others may be added or removed.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqla_typedpool.describe.postgres.catalog import BUILT_IN, References, Relation
from sqla_typedpool.describe.postgres.nodes import Node, nodes_in

_COLUMN_SETS = ("selectedCols", "insertedCols", "updatedCols")
# FirstLowInvalidHeapAttributeNumber, access/sysattr.h: the sets start at the system columns.
_OFFSET = 7


def facts_of(query: Node | None, references: References) -> list[str]:
    """Return the relations and functions that a statement uses, a line each.

    :param references: those of the query.
    """
    relations = references.relations
    bodies = [each.body.query for each in references.functions if each.body is not None]
    views = [relation.view for relation in relations.values()]
    columns = _columns_used([query, *views, *bodies])
    return [
        *(
            fact
            for oid, relation in relations.items()
            if oid >= BUILT_IN
            for fact in _facts_of_relation(relation, columns.get(oid, set()))
        ),
        *(
            f"function {each.schema}.{each.name} {each.facts} {each.is_strict}"
            + (f" {each.body.text}" if each.body is not None else "")
            for each in references.functions
            if not each.is_built_in
        ),
    ]


def _facts_of_relation(relation: Relation, numbers: set[int]) -> Iterator[str]:
    name = relation.full_name
    yield f"relation {name} {relation.kind} {relation.has_rules} {relation.definition}"
    for number, column in relation.columns.items():
        if number in numbers or 0 in numbers:
            yield (
                f"column {name}.{column.name} {column.type} {column.not_null} "
                f"{column.not_null_only} {column.is_virtual}"
            )


def _columns_used(trees: list[Node | None]) -> dict[int, set[int]]:
    """Return, by table, the columns that the trees read or write; 0 is the whole row."""
    used: dict[int, set[int]] = {}
    for node in nodes_in(trees):
        if node.fields.get("selectedCols"):
            numbers = used.setdefault(node.number("relid"), set())
            for name in _COLUMN_SETS:
                numbers.update(int(each) - _OFFSET for each in node.nodes(name))
    return used
