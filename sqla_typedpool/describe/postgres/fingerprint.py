"""The catalogue facts that a description depends on, by name, for its fingerprint.

Of a table only the columns that the statement names count: another one may come or go.
"""

from __future__ import annotations

from sqla_typedpool.describe.postgres.catalog import BUILT_IN, Catalog, Numbers, Relation
from sqla_typedpool.describe.postgres.nodes import Node, nodes_in

_COLUMN_SETS = ("selectedCols", "insertedCols", "updatedCols")
_FIRST = 7  # these sets count from the system columns, of which there are seven


def facts_of(query: Node | None, catalog: Catalog, mentioned: Numbers) -> list[str]:
    """Tables, views and functions that a statement uses, a line each."""
    if query is None:
        return []
    touched: dict[int, set[int]] = {}
    views = [catalog.relations[each].view for each in mentioned.relations & set(catalog.relations)]
    _touch([query, *views], touched)
    return [
        *_of_relations(catalog, mentioned, touched),
        *_of_functions(catalog, mentioned),
    ]


def _of_relations(catalog: Catalog, mentioned: Numbers, touched: dict[int, set[int]]) -> list[str]:
    own = [each for each in mentioned.relations if each >= BUILT_IN]
    return [
        fact
        for each in own
        if each in catalog.relations
        for fact in _of_relation(catalog.relations[each], touched.get(each, set()))
    ]


def _of_relation(relation: Relation, numbers: set[int]) -> list[str]:
    name = relation.full_name
    facts = [f"relation {name} {relation.kind} {relation.has_rules} {relation.definition}"]
    for number, column in relation.columns.items():
        if number in numbers or 0 in numbers:
            facts.append(
                f"column {name}.{column.name} {column.type} {column.not_null} "
                f"{column.not_null_only} {column.is_virtual}"
            )
    return facts


def _of_functions(catalog: Catalog, mentioned: Numbers) -> list[str]:
    own = [catalog.functions.get(each) for each in mentioned.functions if each >= BUILT_IN]
    return [
        f"function {each.schema}.{each.name} {each.facts} {each.is_strict}" for each in own if each
    ]


def _touch(tree: object, touched: dict[int, set[int]]) -> None:
    """The columns of each table that a tree reads or writes."""
    for node in nodes_in(tree):
        if node.fields.get("selectedCols"):
            columns = touched.setdefault(node.number("relid"), set())
            columns.update(int(n) - _FIRST for s in _COLUMN_SETS for n in node.nodes(s))
