"""Types by number: what their values arrive as, and how SQL writes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqla_typedpool.describe.postgres.catalog import BUILT_IN
from sqla_typedpool.describe.postgres.session import Session
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type

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
class _Entry:
    schema: str
    name: str
    sql_name: str
    kind: str
    """``b`` base, ``c`` composite, ``d`` domain, ``e`` enum, ``r`` range, ``p`` pseudo."""
    element: int
    base: int
    labels: list[str]
    field_names: list[str]
    field_types: list[int]

    def needs(self) -> list[int]:
        return [each for each in (self.element, self.base, *self.field_types) if each]


@dataclass
class Types:
    """What is known so far; `learn` asks for what is not."""

    session: Session
    _entries: dict[int, _Entry] = field(default_factory=dict)
    _made: dict[int, DbType] = field(default_factory=dict)

    async def learn(self, numbers: Iterable[int]) -> None:
        """Ask for these types and for all that they are made of."""
        wanted = set(numbers) - set(self._entries)
        while wanted:
            text = "{" + ",".join(map(str, sorted(wanted))) + "}"
            rows = await self.session.fetch(_TYPES, text)
            found = {row[0]: _Entry(*row[1:]) for row in rows}
            self._entries.update(found)
            needed = {each for entry in found.values() for each in entry.needs()}
            wanted = needed - set(self._entries)

    def sql_name(self, number: int) -> str:
        """As SQL takes it, quoted and qualified where it has to be."""
        return self._entries[number].sql_name

    def db_type(self, number: int) -> DbType:
        """What values of the type arrive as; a domain's as its base type's."""
        if number not in self._made:
            self._made[number] = self._make(number)
        return self._made[number]

    def _make(self, number: int) -> DbType:
        known = postgresql_type(number)
        if known.name != str(number):
            return known
        entry = self._entries.get(number)
        if entry is None:
            return known
        if entry.kind == "d":
            return self.db_type(entry.base)
        if entry.kind == "e":
            return postgresql_type(entry.name, labels=tuple(entry.labels))
        if entry.element:
            return self._array(entry)
        if entry.kind == "c":
            return DbType(entry.name, fields=self._fields(entry, number))
        return DbType(entry.name)

    def _array(self, entry: _Entry) -> DbType:
        element = self.db_type(entry.element)
        python = list if self.session.has_lists else None
        return DbType(f"{element.name}[]", python, element=element)

    def _fields(self, entry: _Entry, number: int) -> tuple[tuple[str, DbType], ...]:
        self._made[number] = DbType(entry.name)  # a type may hold arrays of itself
        parts = zip(entry.field_names, entry.field_types, strict=True)
        return tuple((name, self.db_type(kind)) for name, kind in parts)

    def facts(self, numbers: Iterable[int]) -> list[str]:
        """What a fingerprint takes in of these types, and of those that they are made of."""
        seen: set[int] = set()
        waiting = list(numbers)
        while waiting:
            number = waiting.pop()
            entry = self._entries.get(number)
            if number not in seen and entry is not None:
                seen.add(number)
                waiting.extend(entry.needs())
        return sorted(self._fact(number) for number in seen if number >= BUILT_IN)

    def _fact(self, number: int) -> str:
        entry = self._entries[number]
        parts = [self._entries[each] for each in entry.needs()]
        made_of = [f"{each.schema}.{each.name}" for each in parts]
        own = f"{entry.schema}.{entry.name} {entry.kind}"
        return f"type {own} {entry.labels} {entry.field_names} {made_of}"
