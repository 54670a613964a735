"""Facts of the system catalogs that inference needs, fetched before it starts.

Everything is fetched by OID, with one query for each kind of object, and only once for each
describer. Inference itself never waits for the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.function_bodies import FunctionBody, function_bodies
from sqla_typedpool.describe.postgres.nodes import Node, nodes_in, parse_nodes
from sqla_typedpool.describe.postgres.session import Session

# Objects with smaller OIDs come with the server (``FirstNormalObjectId``, access/transam.h);
# applications cannot replace them.
BUILT_IN = 16384


@dataclass(frozen=True)
class TableColumn:
    """One column of a relation."""

    name: str
    type: str
    # Whether NOT NULL is enforced for the rows of the relation and of its child tables.
    not_null: bool
    # The same for ``FROM ONLY relation``.
    not_null_only: bool
    # Whether it is a generated column that is computed when it is read.
    is_virtual: bool
    # Whether the relation itself refuses NULL in new rows, whatever its old rows contain.
    refuses_null: bool = False
    # Whether it is known that rows may contain NULL: no domain, expression or CHECK excludes it.
    may_store_null: bool = False
    # Whether it has a default, or is an identity or generated column.
    has_default: bool = False


@dataclass(frozen=True)
class Relation:
    """A table, a view, or another object that has columns."""

    schema: str
    name: str
    # A `RelationKind`.
    kind: str
    # Whether it has INSTEAD OF triggers, or rules other than the one of a view.
    has_rules: bool
    columns: dict[int, TableColumn]
    # The query of a view.
    view: Node | None
    # The text of a view, for the fingerprint.
    definition: str = ""
    # Whether BEFORE triggers, its own or of a child table, may change new rows.
    changes_new_rows: bool = False

    @property
    def full_name(self) -> str:
        """``schema.name``."""
        return f"{self.schema}.{self.name}"

    @property
    def is_stored(self) -> bool:
        """Whether its rows are in this database: not those of a view or a foreign table."""
        kinds = pg.RelationKind
        return self.kind in (kinds.TABLE, kinds.PARTITIONED, kinds.MATERIALIZED_VIEW)


@dataclass(frozen=True)
class Function:
    """A function, an aggregate, a window function, or the function of an operator."""

    oid: int
    schema: str
    name: str
    # The OIDs of the arguments' types.
    arguments: tuple[int, ...]
    is_strict: bool
    # Whether the planner may replace a call by a constant even if an argument is NULL.
    may_be_simplified: bool = False
    # The signature, for the fingerprint.
    facts: str = ""
    # The only query of a function of the application, if it is in SQL.
    body: FunctionBody | None = None

    @property
    def is_built_in(self) -> bool:
        """Whether it comes with the server."""
        return self.oid < BUILT_IN


class References(NamedTuple):
    """The relations, by OID, and functions that a statement uses, in its views too."""

    relations: dict[int, Relation]
    functions: list[Function]


# A child table may lack a NOT NULL of its parent, and that of a foreign table is not enforced.
# FROM ONLY reads the table alone. $1: OIDs of relations.
_RELATIONS = """
WITH RECURSIVE requested(root) AS (SELECT pg_catalog.unnest($1::pg_catalog.text::pg_catalog.oid[])),
family(root, relid) AS (
    SELECT root, root FROM requested
    UNION
    SELECT f.root, i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.relid
),
not_enforced AS (
    SELECT f.root, ra.attnum, pg_catalog.bool_or(f.relid = f.root) AS by_root
    FROM family f
    JOIN pg_catalog.pg_class c ON c.oid = f.relid
    JOIN pg_catalog.pg_attribute ra
        ON ra.attrelid = f.root AND ra.attnum > 0 AND NOT ra.attisdropped
    LEFT JOIN pg_catalog.pg_attribute a
        ON a.attrelid = f.relid AND a.attname = ra.attname AND NOT a.attisdropped
    WHERE c.relkind = 'f' OR a.attnotnull IS NOT TRUE OR EXISTS (
        SELECT FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = f.relid AND k.contype = 'n' AND NOT k.convalidated
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
    EXISTS (SELECT FROM family f JOIN pg_catalog.pg_trigger t ON t.tgrelid = f.relid
            WHERE f.root = c.oid AND t.tgtype & 7 = 7 AND t.tgenabled <> 'D'),
    a.attnum::pg_catalog.int4, a.attname::pg_catalog.text,
    pg_catalog.format_type(a.atttypid, a.atttypmod),
    d.root IS NULL, d.by_root IS NOT TRUE, a.attgenerated::pg_catalog.text = 'v', a.attnotnull,
    c.relkind IN ('r', 'p') AND a.attgenerated = '' AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid AND t.typtype = 'd')
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'c' AND a.attnum = ANY (k.conkey)
        AND k.conbin::pg_catalog.text
            ~ '[{](NULLTEST|BOOLEANTEST|DISTINCT|COALESCE|NULLIF|MINMAX|CASE|ROW|FUNC)'),
    a.atthasdef OR a.attidentity <> ''
FROM requested
JOIN pg_catalog.pg_class c ON c.oid = requested.root
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN not_enforced d ON d.root = c.oid AND d.attnum = a.attnum
"""

# may_be_simplified: since 17, `x <@ '(,)'` is true and `x <@ 'empty'` is false even if x is NULL.
# What the support functions of extensions do is unknown. $1: OIDs of functions.
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

# $1: OIDs of operators.
_OPERATORS = """
SELECT o.oid::pg_catalog.int8, o.oprcode::pg_catalog.oid::pg_catalog.int8,
    o.oprname::pg_catalog.text
FROM pg_catalog.pg_operator o
WHERE o.oid = ANY ($1::pg_catalog.text::pg_catalog.oid[])
"""


@dataclass
class Catalog:
    """The objects fetched so far, by OID."""

    session: Session
    relations: dict[int, Relation] = field(default_factory=dict)
    functions: dict[int, Function] = field(default_factory=dict)
    # The OID of each operator's function, and the operator's name.
    operators: dict[int, tuple[int, str]] = field(default_factory=dict)

    async def learn(self, tree: Node | None) -> References:
        """Fetch and return everything that a statement uses, in its views and functions too."""
        relations, functions = set[int](), set[int]()
        new: list[Node | None] = [tree]
        while new:
            trees = await self._learn_relations(new, relations)
            used = await self._learn_functions(trees) - functions
            functions |= used
            bodies = (self.functions[oid].body for oid in used if oid in self.functions)
            new = [body.query for body in bodies if body is not None]
        return References(
            {oid: self.relations[oid] for oid in relations if oid in self.relations},
            [self.functions[oid] for oid in functions if oid in self.functions],
        )

    async def _learn_relations(
        self, trees: Sequence[Node | None], seen: set[int]
    ) -> list[Node | None]:
        """Fetch the relations of trees, and return the trees and those of their views.

        :param seen: the OIDs of the relations, to which new ones are added.
        """
        found: list[Node | None] = list(trees)
        new = _oids(trees, _RELATION_FIELDS) - seen
        while new:
            seen |= new
            await self._fetch_relations(new - set(self.relations))
            relations = [self.relations[oid] for oid in new if oid in self.relations]
            views = [relation.view for relation in relations if relation.view is not None]
            found += views
            new = _oids(views, _RELATION_FIELDS) - seen
        return found

    async def _learn_functions(self, trees: Sequence[Node | None]) -> set[int]:
        """Fetch the operators and functions of trees, and return the OIDs of the functions."""
        operators = _oids(trees, _OPERATOR_FIELDS)
        await self._fetch_operators(operators - set(self.operators))
        functions = _oids(trees, _FUNCTION_FIELDS)
        functions |= {self.operators[oid][0] for oid in operators if oid in self.operators}
        await self._fetch_functions(functions - set(self.functions))
        return functions

    async def _fetch_relations(self, oids: set[int]) -> None:
        rows = await self.session.fetch(_RELATIONS, oid_array(oids)) if oids else []
        columns: dict[int, dict[int, TableColumn]] = {}
        for oid, _, _, _, _, _, _, _, number, *facts in rows:
            if number is not None:
                columns.setdefault(oid, {})[number] = TableColumn(*facts)
        for oid, schema, name, kind, has_rules, action, text, is_changed, *_ in rows:
            if oid not in self.relations:
                view, own = parse_nodes(action)[0] if action else None, columns.get(oid, {})
                self.relations[oid] = Relation(
                    schema, name, kind, has_rules, own, view, text or "", is_changed
                )

    async def _fetch_operators(self, oids: set[int]) -> None:
        rows = await self.session.fetch(_OPERATORS, oid_array(oids)) if oids else []
        self.operators.update({oid: (function, name) for oid, function, name in rows})

    async def _fetch_functions(self, oids: set[int]) -> None:
        rows = await self.session.fetch(_FUNCTIONS, oid_array(oids)) if oids else []
        own = {oid for oid, *_ in rows if oid >= BUILT_IN}
        bodies = await function_bodies(self.session, oid_array(own)) if own else {}
        for oid, schema, name, arguments, is_strict, is_simplified, facts in rows:
            types, body = tuple(map(int, arguments.split())), bodies.get(oid)
            found = Function(oid, schema, name, types, is_strict, is_simplified, facts, body)
            self.functions[oid] = found


_RELATION_FIELDS = ("relid", "resorigtbl")
_FUNCTION_FIELDS = ("funcid", "aggfnoid", "winfnoid", "opfuncid")
_OPERATOR_FIELDS = ("opno",)


def _oids(trees: Sequence[Node | None], fields: tuple[str, ...]) -> set[int]:
    """Return the OIDs in these fields of all nodes."""
    return {node.number(name) for node in nodes_in(trees) for name in fields} - {0}


def oid_array(oids: Iterable[int]) -> str:
    """Return the text of an array of OIDs, to be sent as a parameter."""
    return "{" + ",".join(map(str, sorted(oids))) + "}"
