"""What the walker asks of the system catalogues, gathered before it walks.

Everything is asked by number (OID), in one round trip per kind and only once per
describer; the walker itself never waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqla_typedpool.describe.postgres.nodes import Node, nodes_in, parse_nodes
from sqla_typedpool.describe.postgres.session import Session

BUILT_IN = 16384
"""Objects with smaller numbers come with the server; nobody can change or shadow them."""


@dataclass(frozen=True)
class TableColumn:
    """One column of a relation."""

    name: str
    type: str
    not_null: bool
    """Enforced for every row that a SELECT of the relation and its heirs can find."""
    not_null_only: bool
    """The same for ``FROM ONLY relation``."""
    is_virtual: bool
    """Computed when it is read."""


@dataclass(frozen=True)
class Relation:
    """A table, view, or whatever else has columns."""

    schema: str
    name: str
    kind: str
    """``r`` table, ``p`` partitioned, ``v`` view, ``m`` materialized view, ``f`` foreign."""
    has_rules: bool
    """Whether rules other than a view's own, or INSTEAD OF triggers, may answer a write."""
    columns: dict[int, TableColumn]
    view: Node | None
    """A view's query."""
    definition: str = ""
    """A view's text, for the fingerprint."""

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Function:
    """A function, aggregate or window function, or the one behind an operator."""

    oid: int
    schema: str
    name: str
    arguments: tuple[int, ...]
    is_strict: bool
    may_be_simplified: bool = False
    """Whether the planner may put a constant in its place, for NULL as well."""
    facts: str = ""
    """What a description may depend on, for the fingerprint."""

    @property
    def is_built_in(self) -> bool:
        return self.oid < BUILT_IN


# An heir may have dropped the NOT NULL that its parent still has, and a foreign table
# only claims one. FROM ONLY reads the table alone.
_RELATIONS = """
WITH RECURSIVE asked(root) AS (SELECT pg_catalog.unnest($1::pg_catalog.text::pg_catalog.oid[])),
heirs(root, relid) AS (
    SELECT root, root FROM asked
    UNION
    SELECT h.root, i.inhrelid FROM heirs h JOIN pg_catalog.pg_inherits i ON i.inhparent = h.relid
),
doubtful AS (
    SELECT h.root, ra.attnum, pg_catalog.bool_or(h.relid = h.root) AS self
    FROM heirs h
    JOIN pg_catalog.pg_class c ON c.oid = h.relid
    JOIN pg_catalog.pg_attribute ra
        ON ra.attrelid = h.root AND ra.attnum > 0 AND NOT ra.attisdropped
    LEFT JOIN pg_catalog.pg_attribute a
        ON a.attrelid = h.relid AND a.attname = ra.attname AND NOT a.attisdropped
    WHERE c.relkind = 'f' OR a.attnotnull IS NOT TRUE OR EXISTS (
        SELECT FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = h.relid AND k.contype = 'n' AND NOT k.convalidated
        AND k.conkey[1] = a.attnum)
    GROUP BY 1, 2
)
SELECT c.oid::pg_catalog.int8, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
    c.relkind::pg_catalog.text,
    EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1')
    OR EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgtype & 64 > 0),
    (SELECT r.ev_action::pg_catalog.text FROM pg_catalog.pg_rewrite r
     WHERE r.ev_class = c.oid AND r.ev_type = '1' AND c.relkind = 'v'),
    CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END,
    a.attnum::pg_catalog.int4, a.attname::pg_catalog.text,
    pg_catalog.format_type(a.atttypid, a.atttypmod),
    d.root IS NULL, d.self IS NOT TRUE, a.attgenerated::pg_catalog.text = 'v'
FROM asked
JOIN pg_catalog.pg_class c ON c.oid = asked.root
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN doubtful d ON d.root = c.oid AND d.attnum = a.attnum
"""

# Since 17 `x <@ '(,)'` is true and `x <@ 'empty'` false, even for an x that is NULL; what the
# support functions of extensions make of theirs is not known.
_FUNCTIONS = """
SELECT p.oid::pg_catalog.int8, n.nspname::pg_catalog.text, p.proname::pg_catalog.text,
    p.proargtypes::pg_catalog.text, p.proisstrict,
    p.prosupport::pg_catalog.oid <> 0 AND (p.oid >= 16384
        OR p.proname IN ('elem_contained_by_range', 'range_contains_elem')),
    pg_catalog.pg_get_function_identity_arguments(p.oid) || ' -> '
    || coalesce(pg_catalog.pg_get_function_result(p.oid), '')
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.oid = ANY ($1::pg_catalog.text::pg_catalog.oid[])
"""

_OPERATORS = """
SELECT o.oid::pg_catalog.int8, o.oprcode::pg_catalog.oid::pg_catalog.int8,
    o.oprname::pg_catalog.text
FROM pg_catalog.pg_operator o
WHERE o.oid = ANY ($1::pg_catalog.text::pg_catalog.oid[])
"""


@dataclass
class Catalog:
    """What is known so far; `learn` adds what a tree needs."""

    session: Session
    relations: dict[int, Relation] = field(default_factory=dict)
    functions: dict[int, Function] = field(default_factory=dict)
    operators: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Number -> the function behind it, and the operator's name."""
    _seen: dict[str, set[int]] = field(default_factory=dict)

    async def learn(self, tree: object) -> Numbers:
        """Ask for everything the tree mentions, and the views it reads; say what that was."""
        asked = everything = _mentioned(tree)
        while True:
            relations = await self._relations(asked.relations)
            views = [relation.view for relation in relations if relation.view is not None]
            if not views:
                break
            asked = _mentioned(views) - everything
            everything = everything | asked
        await self._operators(everything.operators)
        behind = {self.operators[each][0] for each in everything.operators & set(self.operators)}
        everything = everything | Numbers(functions=behind)
        await self._functions(everything.functions)
        return everything

    async def _relations(self, asked: set[int]) -> list[Relation]:
        new = asked - set(self.relations)
        rows = await self.session.fetch(_RELATIONS, _array(new)) if new else []
        columns: dict[int, dict[int, TableColumn]] = {}
        for row in rows:
            if row[7] is not None:
                columns.setdefault(row[0], {})[row[7]] = TableColumn(*row[8:13])
        for oid, schema, name, kind, has_rules, action, text, *_ in rows:
            if oid not in self.relations:
                view = parse_nodes(action)[0] if action else None
                self.relations[oid] = Relation(
                    schema, name, kind, has_rules, columns.get(oid, {}), view, text or ""
                )
        return [self.relations[oid] for oid in sorted(asked & set(self.relations))]

    async def _operators(self, asked: set[int]) -> None:
        new = asked - set(self.operators)
        for oid, function, name in await self.session.fetch(_OPERATORS, _array(new)) if new else ():
            self.operators[oid] = function, name

    async def _functions(self, asked: set[int]) -> None:
        new = asked - set(self.functions)
        for row in await self.session.fetch(_FUNCTIONS, _array(new)) if new else ():
            oid, schema, name, arguments, *rest = row
            types = tuple(int(each) for each in arguments.split())
            self.functions[oid] = Function(oid, schema, name, types, *rest)


class Numbers:
    """The numbers of catalogue entries that a tree mentions."""

    def __init__(
        self,
        relations: Iterable[int] = (),
        functions: Iterable[int] = (),
        operators: Iterable[int] = (),
    ) -> None:
        self.relations = set(relations)
        self.functions = set(functions)
        self.operators = set(operators)

    def __or__(self, other: Numbers) -> Numbers:
        return Numbers(
            self.relations | other.relations,
            self.functions | other.functions,
            self.operators | other.operators,
        )

    def __sub__(self, other: Numbers) -> Numbers:
        return Numbers(
            self.relations - other.relations,
            self.functions - other.functions,
            self.operators - other.operators,
        )


_RELATION_FIELDS = ("relid", "resorigtbl")
_FUNCTION_FIELDS = ("funcid", "aggfnoid", "winfnoid", "opfuncid")
_OPERATOR_FIELDS = ("opno",)


def _mentioned(tree: object) -> Numbers:
    found = Numbers()
    for node in nodes_in(tree):
        found.relations.update(_numbers(node, _RELATION_FIELDS))
        found.functions.update(_numbers(node, _FUNCTION_FIELDS))
        found.operators.update(_numbers(node, _OPERATOR_FIELDS))
    return found


def _numbers(node: Node, names: tuple[str, ...]) -> Iterable[int]:
    fields = node.fields
    return [int(fields[name]) for name in names if fields.get(name, "0") not in ("0", None)]


def _array(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, sorted(numbers))) + "}"
