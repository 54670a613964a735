"""Random statements that write. Each of their parts writes at least one row."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.describe.writes.fuzz.tables import SOURCE, Field, Target
from tests.describe.writes.fuzz.values import TYPES, Scope, Values


@dataclass(frozen=True)
class WriteStatement:
    """A statement with its parameters."""

    kind: str
    """Such as `upsert`, for the figures."""

    sql: str
    values: dict[str, object]
    optional: frozenset[str]
    targets: tuple[Target, ...]

    @property
    def is_plain(self) -> bool:
        """Whether no trigger, rule or view is involved."""
        return all(target.is_plain for target in self.targets)

    @property
    def never_null(self) -> frozenset[str]:
        """The parameters that are never None."""
        return frozenset(self.values) - self.optional


def random_write(seed: str, targets: Sequence[Target], major: int) -> WriteStatement:
    """Return the statement of this seed."""
    dice = random.Random(f"statement:{seed}")
    return StatementMaker(dice, targets, major).statement()


class StatementMaker:
    """Makes one statement."""

    def __init__(self, dice: random.Random, targets: Sequence[Target], major: int) -> None:
        self.dice, self.targets, self.major = dice, targets, major
        self.values = Values(dice)

    def statement(self) -> WriteStatement:
        """Return a whole statement."""
        makers = {
            "insert": self._insert,
            "multi-row insert": self._multi_row,
            "default values": self._default_values,
            "insert select": self._insert_select,
            "insert from a cte": self._insert_cte,
            "update": self._update,
            "upsert": self._upsert,
            "merge": self._merge,
            "cte that writes": self._writing_cte,
        }
        (kind,) = self.dice.choices([*makers], [16, 12, 1, 16, 9, 20, 14, 12, 6])
        target = self._target(kind)
        sql = makers[kind](target)
        used = (target, *self._others) if kind == "cte that writes" else (target,)
        given = self.values
        return WriteStatement(kind, sql, given.given, frozenset(given.optional), used)

    def _target(self, kind: str) -> Target:
        found = list(self.targets)
        if kind == "upsert":
            found = [each for each in found if each.conflict]
        if kind == "merge" and self.major < 17:
            found = [each for each in found if each.kind != "view"]
        return self.dice.choice(found)

    # ---- INSERT

    def _columns(self, target: Target) -> tuple[list[Field], str]:
        """Return the columns that an INSERT names, and OVERRIDING where it is needed."""
        named = [each for each in target.fields if not self._leaves_out(each)]
        if not any(each.is_always for each in named):
            return named or [target.fields[0]], ""
        return named, self.dice.choice(
            ["overriding system value "] * 3 + ["overriding user value "]
        )

    def _leaves_out(self, column: Field) -> bool:
        if self.values.is_safe and not column.may_be_omitted:
            return False
        share = 0.8 if column.is_generated else 0.6 if column.is_always else 0.07
        return self.values.chance(share)

    def _head(self, target: Target, named: list[Field], override: str, alias: str = "") -> str:
        names = ", ".join(each.name for each in named)
        return f"insert into {target.name}{alias} ({names}) {override}"

    def _insert(self, target: Target) -> str:
        named, override = self._columns(target)
        return self._head(target, named, override) + f"values ({self._row(named)})"

    def _multi_row(self, target: Target) -> str:
        named, override = self._columns(target)
        rows = ", ".join(f"({self._row(named)})" for _ in range(self.dice.choice([2, 2, 3])))
        return self._head(target, named, override) + f"values {rows}"

    def _row(self, named: list[Field]) -> str:
        return ", ".join(self.values.value(each) for each in named)

    def _default_values(self, target: Target) -> str:
        return f"insert into {target.name} default values"

    def _insert_select(self, target: Target) -> str:
        named, override = self._columns(target)
        named = [each for each in named if not each.is_generated] or [target.fields[0]]
        return self._head(target, named, override) + self._select(named)

    def _select(self, named: list[Field]) -> str:
        """Return a SELECT with at least one row and other keys in each."""
        source, scope = self._source()
        items = ", ".join(self._item(each, source, scope) for each in named)
        made = f"select {items}{source}"
        if not self.values.chance(0.08):
            return made
        other = ", ".join(self._item(each, "", ()) for each in named)
        return f"{made} union all select {other}"

    def _item(self, column: Field, source: str, scope: Scope) -> str:
        if column.name == "k" and source:
            offset = self.values.unique() * 1000
            return f"s.k + {offset}"
        value = self.values
        if column.name not in ("k", "p") and value.chance(0.15):
            return value.parameter(column.kind)
        made = value.value(column, scope, default=False)
        return f"cast({made} as {TYPES[column.kind]})"

    def _source(self) -> tuple[str, Scope]:
        """Return FROM and WHERE, and the columns that they provide."""
        scope = _of_source("s")
        draw = self.dice.random()
        if draw < 0.2:
            return "", []
        if draw < 0.5:
            return " from src s", scope
        if draw < 0.65:
            name = self.dice.choice(["t", "i", "b"])
            return f" from src s where s.{name} is not null", scope
        outer = [(sql, kind, False) for sql, kind, _ in _of_source("z")]
        on = self.dice.choice(["z.k = s.k + 1", "false", "z.t = s.t", "true and z.k = s.k"])
        return f" from src s left join src z on {on}", scope + outer

    def _insert_cte(self, target: Target) -> str:
        named, override = self._columns(target)
        named = [each for each in named if not each.is_generated] or [target.fields[0]]
        names = ", ".join(each.name for each in named)
        if self.values.chance(0.5):
            body = self._select(named)
        else:
            rows = (self._typed_row(named) for _ in range(self.dice.choice([1, 1, 2])))
            body = f"values {', '.join(rows)}"
        read = ", ".join(f"w.{each.name}" for each in named)
        if self.values.chance(0.4):
            alias = f"({body}) w ({names})"
            return self._head(target, named, override) + f"select {read} from {alias}"
        head = self._head(target, named, override)
        return f"with w ({names}) as ({body}) {head}select {read} from w"

    def _typed_row(self, named: list[Field]) -> str:
        made = (self.values.value(each, default=False) for each in named)
        typed = (f"cast({v} as {TYPES[each.kind]})" for v, each in zip(made, named, strict=True))
        return f"({', '.join(typed)})"

    # ---- UPDATE

    def _update(self, target: Target) -> str:
        scope = _of_target("z", target)
        source, where = "", self.dice.choice(["", f" where z.k = {target.row}", " where z.k <= 3"])
        if self.values.chance(0.35):
            source = " from src s"
            where = " where s.k = z.k"
            scope += _of_source("s")
        guarded = [name for name, _, _ in scope if name.startswith("z.c")]
        if guarded and self.values.chance(0.15):
            # `target.row` has no NULL.
            word = " and" if where else " where"
            where += f"{word} {self.dice.choice(guarded)} is not null"
        changes = self._assignments(target, scope)
        if self.values.chance(0.08):
            where += (" and " if where else " where ") + self.values.guard()
        return f"update {target.name} z set {changes}{source}{where}"

    def _assignments(self, target: Target, scope: Scope) -> str:
        settable = [each for each in target.fields if not each.is_generated and each.name != "k"]
        chosen = self.dice.sample(settable, min(len(settable), self.dice.choice([1, 1, 2, 3])))
        if not chosen:
            return "k = z.k"
        if self.values.chance(0.12):
            names = ", ".join(each.name for each in chosen)
            items = ", ".join(self._typed(each, scope) for each in chosen)
            return f"({names}) = " + self.dice.choice([f"row({items})", f"(select {items})"])
        return ", ".join(f"{each.name} = {self.values.value(each, scope)}" for each in chosen)

    def _typed(self, column: Field, scope: Scope) -> str:
        return f"cast({self.values.value(column, scope, default=False)} as {TYPES[column.kind]})"

    # ---- ON CONFLICT and MERGE

    def _upsert(self, target: Target) -> str:
        """Insert a row that conflicts, and sometimes a further one."""
        fixed = {"k": "1", "p": "'a'"}
        named, override = self._columns(target)
        keys = [each for each in target.fields if each.name in target.conflict.split(", ")]
        named = keys + [each for each in named if each not in keys]
        if any(each.is_always for each in named):
            override = "overriding system value "
        first = ", ".join(fixed.get(each.name) or self.values.value(each) for each in named)
        rows = [first, self._row(named)] if self.values.chance(0.3) else [first]
        head = self._head(target, named, override, " as z")
        body = head + "values " + ", ".join(f"({row})" for row in rows)
        if self.values.chance(0.08):
            return f"{body} on conflict do nothing"
        scope = [*_of_target("excluded", target) * 2, *_of_target("z", target)]
        changes = self._assignments(_without_key(target), scope)
        return f"{body} on conflict ({target.conflict}) do update set {changes}"

    def _merge(self, target: Target) -> str:
        scope = _of_source("s")
        source = self.dice.choice(
            ["src s", "src s", f"(select * from src where k in ({target.row}, 901)) s"]
        )
        if self.values.chance(0.25):
            one, two = self._typed_source(), self._typed_source()
            source, scope = (
                f"(values ({target.row}, {one}), (901, {two})) s (k, t, i)",
                [("s.t", "text", True), ("s.i", "int", True)],
            )
        matched = self.values.chance(0.7)
        arms = [self._merge_update(target, scope)] if matched else []
        if not arms or self.values.chance(0.6):
            arms.append(self._merge_insert(target, scope))
        return f"merge into {target.name} z using {source} on s.k = z.k {' '.join(arms)}"

    def _typed_source(self) -> str:
        made = (self.values.expression(kind, (), 1) for kind in ("text", "int"))
        return ", ".join(
            f"cast({each} as {t})" for each, t in zip(made, ("text", "int"), strict=True)
        )

    def _merge_update(self, target: Target, scope: Scope) -> str:
        changes = self._assignments(_without_key(target), [*scope, *_of_target("z", target)])
        return f"when matched then update set {changes}"

    def _merge_insert(self, target: Target, scope: Scope) -> str:
        named, override = self._columns(target)
        made = ("s.k" if each.name == "k" else self.values.value(each, scope) for each in named)
        names = ", ".join(each.name for each in named)
        return f"when not matched then insert ({names}) {override}values ({', '.join(made)})"

    # ---- CTE that writes

    _others: tuple[Target, ...] = ()

    def _writing_cte(self, target: Target) -> str:
        free = [each for each in self.targets if each is not target and each.kind != "view"]
        other = self.dice.choice(free)
        self._others = (other,)
        inner = self.dice.choice([self._insert, self._update, self._insert_select])(other)
        returned = [each for each in other.fields if each.name != "k"]
        items = ", ".join(each.name for each in returned)
        relation = "z" if inner.startswith("update") else other.name
        items = ", ".join(f"{relation}.{each.name}" for each in [other.fields[0], *returned])
        if self.values.chance(0.4):
            return f"with w as ({inner} returning {items}) select count(*) from w"
        named, override = self._columns(target)
        named = [each for each in named if not each.is_generated] or [target.fields[0]]
        scope = [(f"s.{each.name}", each.kind, each.is_required) for each in returned]
        read = ", ".join(self._item(each, "w", scope) for each in named)
        head = self._head(target, named, override)
        return f"with s as ({inner} returning {items}) {head}select {read} from s"


def _of_source(alias: str) -> list[tuple[str, str, bool]]:
    """Return the columns of `src`; those with an n at their end are NOT NULL."""
    names = [name for name in SOURCE if name != "k"]
    return [(f"{alias}.{name}", SOURCE[name], name.endswith("n")) for name in names]


def _of_target(alias: str, target: Target) -> list[tuple[str, str, bool]]:
    fields = [each for each in target.fields if each.name != "k"]
    return [(f"{alias}.{each.name}", each.kind, each.is_required) for each in fields]


def _without_key(target: Target) -> Target:
    """Return the target without the key of its partitions, so that a row stays unique."""
    fields = tuple(each for each in target.fields if each.name != "p")
    return replace(target, fields=fields)
