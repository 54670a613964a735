"""Facts of the tables that a statement writes, and of their columns.

They are about new rows: what the database refuses, and what it writes where a statement gives no
value. The facts of `catalog` are about the rows that a table contains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqla_typedpool.describe.postgres.accepted_texts import accepted_texts
from sqla_typedpool.describe.postgres.catalog import oid_array
from sqla_typedpool.describe.postgres.pg_enums import RelationKind, TriggerEvent
from sqla_typedpool.describe.postgres.session import Session

# `family` is a table with its partitions or child tables. The triggers are those that may change
# or skip a row, as the sum of their `TriggerEvent`. $1: OIDs of relations.
_TABLES = """
WITH RECURSIVE requested(root) AS (SELECT pg_catalog.unnest($1::pg_catalog.text::pg_catalog.oid[])),
family(root, relid) AS (
    SELECT root, root FROM requested
    UNION
    SELECT f.root, i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.relid
)
SELECT c.oid::pg_catalog.int8, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
    c.relkind::pg_catalog.text, f.is_foreign, f.own_triggers, f.triggers,
    a.attnum::pg_catalog.int4, a.attname::pg_catalog.text, a.atttypid::pg_catalog.int8,
    a.atttypmod, a.attnotnull,
    NOT EXISTS (
        SELECT FROM family m LEFT JOIN pg_catalog.pg_attribute ma
        ON ma.attrelid = m.relid AND ma.attname = a.attname AND NOT ma.attisdropped
        WHERE m.root = c.oid AND ma.attnotnull IS NOT TRUE),
    a.atthasdef, a.attidentity <> '',
    ARRAY(SELECT k.conbin::pg_catalog.text FROM pg_catalog.pg_constraint k
          WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.convalidated
          AND k.conkey = ARRAY[a.attnum] ORDER BY k.conname)
FROM (
    SELECT family.root, pg_catalog.bool_or(m.relkind = 'f') AS is_foreign,
        coalesce(pg_catalog.bit_or(t.tgtype & 28)
            FILTER (WHERE t.tgrelid = family.root), 0)::pg_catalog.int4 AS own_triggers,
        coalesce(pg_catalog.bit_or(t.tgtype & 28), 0)::pg_catalog.int4 AS triggers
    FROM family JOIN pg_catalog.pg_class m ON m.oid = family.relid
    LEFT JOIN pg_catalog.pg_trigger t
        ON t.tgrelid = m.oid AND t.tgtype & 3 = 3 AND t.tgenabled <> 'D'
    GROUP BY family.root
) f
JOIN pg_catalog.pg_class c ON c.oid = f.root
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.oid, a.attnum
"""

# `chain` is a type and, if that is a domain, the types below it. $1: OIDs of types.
_TYPES = """
WITH RECURSIVE chain(root, oid, depth) AS (
    SELECT u, u, 0 FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.oid[]) AS u
    UNION ALL
    SELECT c.root, t.typbasetype, c.depth + 1 FROM chain c
    JOIN pg_catalog.pg_type t ON t.oid = c.oid AND t.typtype = 'd'
)
SELECT c.root::pg_catalog.int8, pg_catalog.bool_or(t.typnotnull),
    pg_catalog.bool_or(c.depth = 0 AND (t.typdefault IS NOT NULL OR t.typdefaultbin IS NOT NULL)),
    (pg_catalog.max(t.oid::pg_catalog.int8) FILTER (WHERE t.typtype <> 'd')),
    (pg_catalog.array_agg(t.typtypmod ORDER BY c.depth DESC) FILTER (WHERE t.typtype = 'd'))[1],
    ARRAY(SELECT e.enumlabel::pg_catalog.text FROM pg_catalog.pg_enum e
          WHERE e.enumtypid = pg_catalog.max(t.oid::pg_catalog.int8)
              FILTER (WHERE t.typtype <> 'd') ORDER BY e.enumsortorder),
    ARRAY(SELECT k.conbin::pg_catalog.text FROM pg_catalog.pg_constraint k
          WHERE k.contypid = ANY (pg_catalog.array_agg(t.oid)) AND k.contype = 'c'
          AND k.convalidated ORDER BY k.conname)
FROM chain c JOIN pg_catalog.pg_type t ON t.oid = c.oid
GROUP BY c.root
"""

_LIMITED_TYPES = frozenset({1042, 1043})  # bpchar, varchar
_HEADER = 4  # a modifier of these types is the number of characters + VARHDRSZ


@dataclass(frozen=True)
class WrittenType:
    """The type of a column. The facts are those of the domains too, down to the base type."""

    # Whether a domain refuses NULL.
    not_null: bool
    has_default: bool
    # The OID of the base type.
    base: int
    max_length: int | None
    accepted: tuple[str, ...]


@dataclass(frozen=True)
class WrittenColumn:
    """One column of a relation to which rows are written."""

    # ``schema.table.column``.
    full_name: str
    type: WrittenType
    # Whether the relation itself refuses NULL in this column; not because of the type.
    not_null: bool
    # The same for all its partitions and child tables too.
    not_null_in_all: bool
    has_default: bool
    is_identity: bool
    max_length: int | None
    accepted: tuple[str, ...]

    @property
    def is_given(self) -> bool:
        """Whether it gets a value where a statement gives none."""
        return self.has_default or self.is_identity

    @property
    def is_required(self) -> bool:
        """Whether a statement that inserts a row must give it a value."""
        return (self.not_null or self.type.not_null) and not self.is_given


@dataclass(frozen=True)
class WrittenRelation:
    """A relation to which rows are written: a table, or a view of one."""

    # A `RelationKind`.
    kind: str
    # Whether it, or one of its partitions or child tables, is a foreign table.
    is_foreign: bool
    # The events (`TriggerEvent`) of its triggers that may change or skip a row.
    own_triggers: int
    # Those of its partitions and child tables too.
    triggers: int
    columns: dict[int, WrittenColumn]

    @property
    def facts(self) -> str:
        """What it adds to a fingerprint, without its columns."""
        return f"written {self.kind} {self.is_foreign} {self.own_triggers} {self.triggers}"

    def may_change_rows(self, event: int, *, inherits: bool) -> bool:
        """Return whether something may change or skip a row before it is checked.

        :param event: a `TriggerEvent`.
        :param inherits: whether rows of child tables are written too.
        """
        if self.kind == RelationKind.PARTITIONED:
            if event == TriggerEvent.UPDATE:  # it may move a row to another partition
                event |= TriggerEvent.INSERT | TriggerEvent.DELETE
            return self.is_foreign or bool(self.triggers & event)
        if self.kind != RelationKind.TABLE:
            return True
        if inherits:
            return self.is_foreign or bool(self.triggers & event)
        return bool(self.own_triggers & event)


@dataclass
class WrittenCatalog:
    """The relations to which statements write, by OID; each is fetched once."""

    session: Session
    relations: dict[int, WrittenRelation] = field(default_factory=dict)
    _types: dict[int, WrittenType] = field(default_factory=dict)

    async def learn(self, oids: Iterable[int]) -> None:
        """Fetch these relations."""
        new = set(oids) - set(self.relations)
        if not new:
            return
        rows = await self.session.fetch(_TABLES, oid_array(new))
        await self._learn_types({row[9] for row in rows})
        columns: dict[int, dict[int, WrittenColumn]] = {}
        for oid, schema, table, _, _, _, _, number, name, *facts in rows:
            found = _column(f"{schema}.{table}.{name}", self._types[facts[0]], *facts[1:])
            columns.setdefault(oid, {})[number] = found
        for oid, _, _, kind, is_foreign, own_triggers, triggers, *_ in rows:
            self.relations[oid] = WrittenRelation(
                kind, is_foreign, own_triggers, triggers, columns[oid]
            )

    async def _learn_types(self, oids: set[int]) -> None:
        new = oids - set(self._types)
        for oid, *facts in await self.session.fetch(_TYPES, oid_array(new)) if new else ():
            self._types[oid] = _type(*facts)


def _type(
    not_null: bool,
    has_default: bool,
    base: int,
    modifier: int | None,
    labels: list[str],
    checks: list[str],
) -> WrittenType:
    accepted = tuple(labels) or accepted_texts(checks)
    return WrittenType(not_null, has_default, base, _max_length(base, modifier), accepted)


def _column(
    full_name: str,
    written: WrittenType,
    modifier: int,
    not_null: bool,
    not_null_in_all: bool,
    has_default: bool,
    is_identity: bool,
    checks: list[str],
) -> WrittenColumn:
    length = _max_length(written.base, modifier)
    return WrittenColumn(
        full_name,
        written,
        not_null,
        not_null_in_all,
        has_default or written.has_default,
        is_identity,
        written.max_length if length is None else length,
        accepted_texts(checks) or written.accepted,
    )


def _max_length(base: int, modifier: int | None) -> int | None:
    if base not in _LIMITED_TYPES or modifier is None or modifier < _HEADER:
        return None
    return modifier - _HEADER
