"""A random schema: tables with triggers, partitions, children, domains and views over them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

PRELUDE = """
drop schema if exists fuzz cascade; create schema fuzz; set search_path = fuzz;
create domain required_text as text not null;
create domain required_int as int not null;
create domain nested_text as required_text check (length(value) < 99);
create domain default_text as text not null default 'd';
create domain free_text as text;
create table src (
    k int primary key, t text, tn text not null, i int, i_n int not null, b bool, bn bool not null
);
insert into src values (1, 'a', 'a', 1, 1, true, true), (2, null, 'b', null, 2, null, false),
    (3, 'e', 'e', 5, 5, false, true), (901, 'c', 'c', 3, 3, false, true),
    (902, null, 'd', null, 4, null, true);
"""
SOURCE = {
    "k": "int",
    "t": "text",
    "tn": "text",
    "i": "int",
    "i_n": "int",
    "b": "bool",
    "bn": "bool",
}

_TYPES = {
    "text": ["text"] * 6
    + ["varchar(90)", "required_text", "nested_text", "default_text", "free_text"],
    "int": ["int"] * 6 + ["bigint", "required_int"],
    "bool": ["bool"],
}
_CONSTANTS = {"text": "'c'", "int": "7", "bool": "true"}


@dataclass(frozen=True)
class Field:
    """A column of a table or a view."""

    name: str
    kind: str
    """`text`, `int` or `bool`."""

    ddl: str = ""
    """Its type and constraints."""

    is_generated: bool = False
    is_always: bool = False
    """Whether it is GENERATED ALWAYS AS IDENTITY."""

    is_fixed: bool = False
    """Whether it is the key of a partition, which has only one value."""

    @property
    def is_required(self) -> bool:
        """Whether it must not be NULL."""
        words = ("not null", "primary key", "required_", "nested_", "default_text")
        return any(word in self.ddl for word in words)

    @property
    def may_be_omitted(self) -> bool:
        """Whether an INSERT may leave it out."""
        has_default = " default '" in self.ddl or " default 7" in self.ddl
        has_default |= " default true" in self.ddl or self.ddl.startswith(("default_", "serial"))
        return not self.is_required or has_default or "generated" in self.ddl


@dataclass(frozen=True)
class Target:
    """A table or view that statements write to."""

    name: str
    kind: str
    """Such as `partitioned`, for the figures."""

    fields: tuple[Field, ...]
    ddl: tuple[str, ...]
    """What creates it, with its rows."""

    is_plain: bool = True
    """Whether there is no trigger, rule or view."""

    conflict: str = ""
    """The columns of a unique index: `k, p`; "" = there is none."""

    row: int = 1
    """The key of a row in which no column is NULL."""


@dataclass
class TableMaker:
    """Makes the tables of one seed."""

    dice: random.Random
    major: int
    targets: list[Target] = field(default_factory=list)

    def make(self, count: int) -> list[Target]:
        """Return `count` tables and a third as many views."""
        makers = [self._plain, self._plain, self._partitioned, self._inherited]
        for at in range(count):
            self.targets += self.dice.choice(makers)(f"t{at}")
        tables = [each for each in self.targets if each.name.count("_") == 0]
        for at in range(count // 3):
            self.targets.append(self._view(f"v{at}", self.dice.choice(tables)))
        return self.targets

    # ---- tables

    def _plain(self, name: str) -> list[Target]:
        fields = self._fields()
        key = self.dice.choice(["k int primary key"] * 3 + ["k int not null unique"])
        if self.dice.random() < 0.3:
            how = self.dice.choice(["always", "by default"])
            key = f"k int generated {how} as identity (start 5000) primary key"
        if self.dice.random() < 0.1:
            key = "k serial primary key"
        first = Field("k", "int", key.removeprefix("k "), is_always=" always " in key)
        table = Target(name, "table", (first, *fields), (), conflict="k")
        dropped = self._with_dropped(self._definitions(table))
        ddl = [f"create table {name} ({', '.join(dropped)})", *self._drops(name, dropped)]
        ddl += [*self._rows(table), *self._not_valid(table)]
        table = replace(table, ddl=tuple(ddl))
        return [self._triggered(table, [name]) if self.dice.random() < 0.25 else table]

    def _partitioned(self, name: str) -> list[Target]:
        fields = (Field("k", "int", "int not null"), Field("p", "text", "text not null"))
        table = Target(name, "partitioned", (*fields, *self._fields()), (), conflict="k, p")
        columns = self._definitions(table)
        ddl = [
            f"create table {name} ({', '.join(columns)}, primary key (k, p)) partition by list (p)"
        ]
        ddl.append(f"create table {name}_a partition of {name} for values in ('a')")
        ddl += self._attached(table)
        ddl.append(f"create table {name}_z partition of {name} default")
        ddl += self._rows(table)
        table = replace(table, ddl=tuple(ddl))
        if self.dice.random() < 0.3:
            table = self._triggered(table, [name, f"{name}_a", f"{name}_b", f"{name}_z"])
        # The trigger may be that of another partition, which is counted as a trigger too.
        fixed = tuple(replace(each, is_fixed=each.name == "p") for each in table.fields)
        leaf = replace(table, name=f"{name}_a", kind="partition", fields=fixed, ddl=())
        return [table, leaf]

    def _attached(self, table: Target) -> list[str]:
        """Return what attaches a partition whose columns are in another order."""
        name, columns = f"{table.name}_b", self._definitions(table)
        self.dice.shuffle(columns)
        parts = self._with_dropped(columns)
        extra = [f for f in table.fields[2:] if not f.is_generated and "default" not in f.ddl]
        ddl = [f"create table {name} ({', '.join(parts)})", *self._drops(name, parts)]
        if extra and self.dice.random() < 0.4:
            own = self.dice.choice(extra)
            change = self.dice.choice(["set not null", f"set default {_CONSTANTS[own.kind]}"])
            ddl.append(f"alter table {name} alter column {own.name} {change}")
        return [*ddl, f"alter table {table.name} attach partition {name} for values in ('b')"]

    def _inherited(self, name: str) -> list[Target]:
        key = Field("k", "int", "int primary key")
        parent = Target(name, "parent", (key, *self._fields()), (), conflict="k")
        own = Field("own", "text", self.dice.choice(["text", "text not null", "text default 'o'"]))
        child = Target(f"{name}_c", "child", (*parent.fields, own), (), row=3)
        ddl = [f"create table {name} ({', '.join(self._definitions(parent))})"]
        ddl.append(f"create table {child.name} (own {own.ddl}) inherits ({name})")
        ddl += self._loosened(parent, child.name)
        ddl += self._rows(parent, [1]) + self._rows(child, [2, 3])
        parent = replace(parent, ddl=tuple(ddl))
        if self.dice.random() < 0.3:
            parent = self._triggered(parent, [name, child.name])
        return [parent, replace(child, is_plain=parent.is_plain)]

    def _loosened(self, parent: Target, child: str) -> Iterator[str]:
        """Yield what lets a child accept NULL although its parent does not."""
        required = [f for f in parent.fields[1:] if f.ddl.endswith("not null")]
        if self.major < 18 and required and self.dice.random() < 0.3:
            chosen = self.dice.choice(required).name
            yield f"alter table {child} alter column {chosen} drop not null"

    def _not_valid(self, table: Target) -> Iterator[str]:
        free = [f for f in table.fields[1:] if f.ddl in ("text", "int", "bool")]
        if self.major >= 18 and free and self.dice.random() < 0.2:
            yield f"alter table {table.name} add constraint nv not null {free[0].name} not valid"

    # ---- columns

    def _fields(self) -> list[Field]:
        made = [self._field(f"c{at}") for at in range(self.dice.choice([2, 3, 3, 4]))]
        texts = [f for f in made if f.kind == "text"]
        if texts and self.dice.random() < 0.2:
            of = self.dice.choice(texts)
            how = f"text generated always as (upper({of.name})) stored"
            required = of.ddl.endswith("not null") or self.dice.random() < 0.1
            made.append(Field("g", "text", how + " not null" * required, is_generated=True))
        return made

    def _field(self, name: str) -> Field:
        kind = self.dice.choice(["text", "text", "int", "bool"])
        ddl = self.dice.choice(_TYPES[kind])
        if self.dice.random() < 0.25:
            # DEFAULT NULL of another type is an expression, with a conversion.
            can_be_null = ddl in ("text", "int", "bool")
            default = "null" if can_be_null and self.dice.random() < 0.5 else _CONSTANTS[kind]
            ddl += f" default {default}"
        return Field(name, kind, ddl + " not null" * (self.dice.random() < 0.6))

    def _definitions(self, table: Target) -> list[str]:
        return [f"{each.name} {each.ddl}" for each in table.fields]

    def _with_dropped(self, columns: list[str]) -> list[str]:
        columns = list(columns)
        if self.dice.random() < 0.3:
            columns.insert(self.dice.randrange(len(columns) + 1), "gone int")
        return columns

    def _drops(self, name: str, columns: list[str]) -> list[str]:
        return [f"alter table {name} drop column gone"] * ("gone int" in columns)

    def _rows(self, table: Target, keys: list[int] | None = None) -> list[str]:
        """Return what fills a table; in the row 2 all columns are NULL that may be."""
        return [
            f"do $$ begin {self._row(table, key, nulls=True)}; exception when not_null_violation"
            f" then {self._row(table, key, nulls=False)}; end $$"
            if key == 2
            else self._row(table, key, nulls=False)
            for key in keys or [1, 2, 3]
        ]

    def _row(self, table: Target, key: int, *, nulls: bool) -> str:
        fields = [each for each in table.fields if not each.is_generated]
        values = []
        for each in fields:
            made = "null" if nulls and not each.is_required else _CONSTANTS[each.kind]
            values.append({"k": str(key), "p": f"'{' abz'[key]}'"}.get(each.name, made))
        names = ", ".join(each.name for each in fields)
        override = "overriding system value " if table.fields[0].is_always else ""
        return f"insert into {table.name} ({names}) {override}values ({', '.join(values)})"

    # ---- triggers and views

    def _triggered(self, table: Target, places: list[str]) -> Target:
        """Add a trigger that replaces NULL in some columns."""
        fillable = [each for each in table.fields if not each.is_generated and each.name != "p"]
        chosen = self.dice.sample(fillable, self.dice.randint(1, len(fillable)))
        of, place = self.dice.choice(fillable).name, self.dice.choice(places)
        when = self.dice.choice(["before", "before", "before", "after"])
        events = ["insert", "update", "insert or update", f"update of {of}", "delete"]
        event = self.dice.choice(events)
        body = " ".join(self._filling(each) for each in chosen)
        function = f"fill_{table.name}"
        ddl = [
            f"create function {function}() returns trigger language plpgsql as $$ begin"
            f" if tg_op = 'DELETE' then return old; end if; {body} return new; end $$",
            f"create trigger g {when} {event} on {place} for each row"
            f" execute function {function}()",
        ]
        if self.dice.random() < 0.15:
            ddl.append(f"alter table {place} disable trigger g")
        return replace(table, ddl=(*table.ddl, *ddl), is_plain=False)

    def _filling(self, column: Field) -> str:
        made = "(random() * 1e8)::int + 100000" if column.name == "k" else _CONSTANTS[column.kind]
        return f"new.{column.name} := coalesce(new.{column.name}, {made});"

    def _view(self, name: str, table: Target) -> Target:
        hidden = {each.name for each in table.fields[2:] if self.dice.random() < 0.15}
        fields = [each for each in table.fields if each.name not in hidden]
        where = self.dice.choice(["", "", " where k > 0", " where k > 0 with check option"])
        columns = ", ".join(each.name for each in fields)
        ddl = [f"create view {name} as select {columns} from {table.name}{where}"]
        settable = [each for each in fields[1:] if not each.is_generated and each.name != "p"]
        if settable and self.dice.random() < 0.25:
            of = self.dice.choice(settable)
            ddl.append(
                f"alter view {name} alter column {of.name} set default {_CONSTANTS[of.kind]}"
            )
        ddl += self._instead(name) if self.dice.random() < 0.2 else []
        return Target(name, "view", tuple(fields), tuple(ddl), False, table.conflict)

    def _instead(self, name: str) -> list[str]:
        """Return a trigger or a rule through which nothing is written."""
        if self.dice.random() < 0.5:
            event = self.dice.choice(["insert", "update"])
            return [f"create rule r as on {event} to {name} do instead nothing"]
        event = self.dice.choice(["insert", "update", "insert or update"])
        return [
            f"create function instead_{name}() returns trigger language plpgsql as"
            " $$ begin return new; end $$",
            f"create trigger i instead of {event} on {name} for each row"
            f" execute function instead_{name}()",
        ]


def random_tables(seed: str, major: int, count: int) -> list[Target]:
    """Return the tables and views of this seed for a server of this major version."""
    return TableMaker(random.Random(f"tables:{seed}"), major).make(count)
