"""Random statements over the schema `shop`, in the SQL of SQLite or MariaDB."""

from __future__ import annotations

import random
from dataclasses import dataclass

_TABLES = {
    "u": ("id", "name", "nick"),
    "p": ("id", "uid", "title", "score"),
    "ps": ("id", "uid", "t"),
    "vu": ("id", "name", "nick"),
    "vl": ("id", "title"),
    "vmax": ("name", "m"),
}
# In these templates {0} and {1} are columns in scope.
_AGGREGATES = ("count(*)", "count({0})", "max({0})", "sum({0})", "min({0})")
_CONDITIONS = (
    "{0} > 0", "{0} IS NOT NULL AND {1} > 0", "{0} > 0 OR {1} > 0", "NOT {0} = {1}",
    "{0} IS NULL", "{0} LIKE '%'",
)  # fmt: skip
_EXPRESSIONS = (
    "{0}", "{0}", "{0}", "{0}", "1", "'x'", "NULL", "coalesce({0}, {1})", "coalesce({0}, 0)",
    "ifnull({0}, {1})", "nullif({0}, {1})", "{0} IS NULL", "{0} = {1}", "{0} + 1", "({0} / 2)",
    "CASE WHEN {0} > 0 THEN {1} END", "CASE WHEN {0} > 0 THEN 1 ELSE 2 END", "upper({0})",
    "(SELECT count(*) FROM p)", "(SELECT title FROM p ORDER BY id LIMIT 1)",
    "EXISTS (SELECT 1 FROM p)", "length({0})", "row_number() OVER (ORDER BY {0})",
    "lag({0}) OVER (ORDER BY {1})",
)  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """The parts of statements that differ between the databases."""

    tables: dict[str, tuple[str, ...]]
    joins: tuple[str, ...]
    conditions: tuple[str, ...]
    expressions: tuple[str, ...]
    rollups: tuple[str, ...] = ("",)
    """What may follow GROUP BY."""


SQLITE = Dialect(
    tables={**_TABLES, "g": ("a", "b"), "vk": ("number", "k")},
    joins=("JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"),
    conditions=(*_CONDITIONS, "{0} IS NOT {1}"),
    expressions=(
        *_EXPRESSIONS, "{0} || {1}", "iif({0} > 0, {0}, {1})", "max({0}, {1})",
        "cast({0} AS text)", "{0} AND {1}", "NOT {0}", "{0} LIKE {1}", "{0} IN (1, 2)",
        "{0} BETWEEN 1 AND 2", "(SELECT max({0}))", "(SELECT count({0}) FROM none)",
        "(SELECT max(p.id) FROM p WHERE p.uid = {0})", "sum(count(*)) OVER ()",
        "count(*) OVER (ORDER BY min({0}))", "coalesce(max({0}), 0)", "trim({0})",
        "substr({0}, 1, 2)", "cast({0} AS integer)", "current_timestamp", "{0} IS NOT {1}",
        "{0} || 'x' > {1}",
    ),
)  # fmt: skip
MARIADB = Dialect(
    tables={**_TABLES, "vk": ("id", "k")},
    joins=("JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN"),
    conditions=(
        *_CONDITIONS, "{0} BETWEEN 0 AND 9 AND {1} LIKE '%'", "{0} <=> {1}", "{0} IN (1, 2)",
        "{0} = {1} AND {1} IS NOT NULL",
    ),
    expressions=(
        *_EXPRESSIONS, "concat({0}, {1})", "if({0} > 0, {0}, {1})", "greatest({0}, {1})",
        "cast({0} AS char)", "now()", "(SELECT max(p.id) FROM p WHERE p.uid = {0})",
        "(SELECT max({0}) FROM p LIMIT 1)", "(SELECT count({0}) FROM p LIMIT 1)",
        "coalesce((SELECT sum(p.score) FROM p), {0})",
    ),
    rollups=("", " WITH ROLLUP"),
)  # fmt: skip


class ShopStatements:
    """Generates SELECT statements; the same seed generates the same ones."""

    def __init__(self, dialect: Dialect, seed: int) -> None:
        self._dialect = dialect
        self._random = random.Random(seed)

    def statement(self) -> str:
        """Return the next statement."""
        columns = self._random.randint(1, 4)
        if self._random.random() < 0.2:
            operator = self._random.choice(["UNION ALL", "UNION", "EXCEPT", "INTERSECT"])
            return f"{self._select(columns)} {operator} {self._select(columns)}"
        if self._random.random() < 0.15:
            return f"WITH w AS ({self._select(2)}) SELECT k0, k1 FROM w LEFT JOIN u ON u.id = w.k0"
        return self._select(columns)

    def _select(self, columns: int, depth: int = 0) -> str:
        source, scope = self._join(depth)
        items, group = self._items(columns, scope)
        listed = ", ".join(f"{item} AS k{at}" for at, item in enumerate(items))
        where = ""
        if self._random.random() < 0.3:
            where = " WHERE " + self._filled(self._dialect.conditions, scope)
        return f"SELECT {listed} FROM {source}{where}{group}"

    def _join(self, depth: int) -> tuple[str, list[str]]:
        """Return one to three relations, joined, and their columns."""
        source, scope = self._relation("a", depth)
        for number in range(self._random.choice([0, 1, 1, 2])):
            other, more = self._relation("bc"[number], depth)
            join = self._random.choice(self._dialect.joins)
            left, right = self._random.choice(scope), self._random.choice(more)
            source += f" {join} {other} ON {left} = {right}"
            scope = scope + more
        return source, scope

    def _relation(self, alias: str, depth: int) -> tuple[str, list[str]]:
        if depth < 2 and self._random.random() < 0.25:
            columns = self._random.randint(1, 3)
            names = [f"{alias}.k{at}" for at in range(columns)]
            return f"({self._select(columns, depth + 1)}) {alias}", names
        table = self._random.choice(list(self._dialect.tables))
        return f"{table} {alias}", [f"{alias}.{name}" for name in self._dialect.tables[table]]

    def _items(self, columns: int, scope: list[str]) -> tuple[list[str], str]:
        """Return the expressions of the output list, and the GROUP BY for them."""
        plain = [self._filled(self._dialect.expressions, scope) for _ in range(columns)]
        mode = self._random.random()
        if mode < 0.2:
            key = self._random.choice(scope)
            group = f" GROUP BY {key}{self._random.choice(self._dialect.rollups)}"
            return self._with_aggregates(key, columns, scope), group
        if mode < 0.3:
            return self._with_aggregates(plain[0], columns, scope), ""
        return plain, ""

    def _with_aggregates(self, item: str, columns: int, scope: list[str]) -> list[str]:
        templates = (item, *_AGGREGATES)
        return [self._filled(templates, scope) for _ in range(columns)]

    def _filled(self, templates: tuple[str, ...], scope: list[str]) -> str:
        template = self._random.choice(templates)
        return template.format(self._random.choice(scope), self._random.choice(scope))
