"""Types by OID: what their values arrive as in Python, and their names in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.catalog import BUILT_IN, oid_array
from sqla_typedpool.describe.postgres.driver_types import delivered_by, of_extension
from sqla_typedpool.describe.postgres.session import Session
from sqla_typedpool.mapping.dbtypes import EXTENSION_TEXTS, DbType, postgresql_type

# $1: OIDs of types.
_TYPES = """
SELECT t.oid::pg_catalog.int8, n.nspname::pg_catalog.text, t.typname::pg_catalog.text,
    pg_catalog.format_type(t.oid, -1), t.typtype::pg_catalog.text,
    CASE WHEN t.typcategory = 'A' THEN t.typelem::pg_catalog.int8 ELSE 0 END,
    t.typbasetype::pg_catalog.int8,
    ARRAY(SELECT e.enumlabel::pg_catalog.text FROM pg_catalog.pg_enum e
          WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
    ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
          AND t.typtype = 'c' ORDER BY a.attnum),
    ARRAY(SELECT a.atttypid::pg_catalog.int8 FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
          AND t.typtype = 'c' ORDER BY a.attnum)
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.oid = ANY ($1::pg_catalog.text::pg_catalog.oid[])
"""


@dataclass(frozen=True)
class _TypeRow:
    """A row of ``pg_type``."""

    schema: str
    name: str
    sql_name: str
    # A `TypeKind`.
    kind: str
    # The OID of an array's elements; 0 = it is not an array.
    element: int
    # The OID of a domain's base type; 0 = it is not a domain.
    base: int
    labels: list[str]
    field_names: list[str]
    field_types: list[int]

    @property
    def parts(self) -> list[int]:
        """The OIDs of the types that it consists of."""
        return [each for each in (self.element, self.base, *self.field_types) if each]


@dataclass
class Types:
    """The types fetched so far, by OID."""

    session: Session
    _rows: dict[int, _TypeRow] = field(default_factory=dict)
    _db_types: dict[int, DbType] = field(default_factory=dict)

    async def learn(self, oids: Iterable[int]) -> None:
        """Fetch these types and all types that they consist of."""
        new = set(oids) - set(self._rows)
        while new:
            rows = await self.session.fetch(_TYPES, oid_array(new))
            fetched = {oid: _TypeRow(*row) for oid, *row in rows}
            self._rows.update(fetched)
            new = {each for row in fetched.values() for each in row.parts} - set(self._rows)

    def sql_name(self, oid: int) -> str:
        """Return the name to use in SQL, quoted and qualified where that is necessary."""
        return self._rows[oid].sql_name

    def db_type(self, oid: int) -> DbType:
        """Return what values of the type arrive as; those of a domain arrive as its base type."""
        if oid not in self._db_types:
            self._db_types[oid] = self._make(oid)
        return self._db_types[oid]

    def _make(self, oid: int) -> DbType:
        known, row = postgresql_type(oid), self._rows.get(oid)
        if known.name != str(oid) or row is None:
            return delivered_by(self.session.name, known)
        if row.kind == pg.TypeKind.DOMAIN:
            return self.db_type(row.base)
        if row.kind == pg.TypeKind.ENUM:
            return postgresql_type(row.name, labels=tuple(row.labels))
        if row.element:
            element = self.db_type(row.element)
            # SQLAlchemy registers hstore on psycopg, and its array
            if self.session.has_lists or element.usual == (dict,):
                return DbType(f"{element.name}[]", list, element=element)
            return self._unregistered(DbType(f"{element.name}[]", element=element))
        if row.kind == pg.TypeKind.COMPOSITE:
            self._db_types[oid] = DbType(row.name)  # its fields may be arrays of the type itself
            fields = zip(row.field_names, map(self.db_type, row.field_types), strict=True)
            return self._unregistered(DbType(row.name, fields=tuple(fields)))
        return self._of_application(row)

    def _of_application(self, row: _TypeRow) -> DbType:
        """Return a range, a multirange or a base type that is not built in."""
        name = self.session.name
        if row.kind in (pg.TypeKind.RANGE, pg.TypeKind.MULTIRANGE):
            is_range = row.kind == pg.TypeKind.RANGE and self.session.has_lists
            return self._unregistered(delivered_by(name, DbType(row.name, is_range=is_range)))
        if row.name in EXTENSION_TEXTS:
            return postgresql_type(row.name)
        return of_extension(name, row.name)

    def _unregistered(self, db_type: DbType) -> DbType:
        """Return a type of the application: psycopg delivers text until it is registered."""
        if self.session.has_lists:
            return db_type
        return replace(db_type, usual=(str,), driver=self.session.name)

    def facts(self, oids: Iterable[int]) -> list[str]:
        """Return what these types, and the types that they consist of, add to a fingerprint."""
        seen: set[int] = set()
        waiting = list(oids)
        while waiting:
            oid = waiting.pop()
            if oid not in seen and oid in self._rows:
                seen.add(oid)
                waiting.extend(self._rows[oid].parts)
        return sorted(self._fact(oid) for oid in seen if oid >= BUILT_IN)

    def _fact(self, oid: int) -> str:
        row = self._rows[oid]
        parts = [f"{part.schema}.{part.name}" for part in map(self._rows.__getitem__, row.parts)]
        return f"type {row.schema}.{row.name} {row.kind} {row.labels} {row.field_names} {parts}"
