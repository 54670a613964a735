"""How far the NOT NULL flags of MySQL and MariaDB can be trusted.

They count outer joins of tables and set operations in, but not what an aggregate without
GROUP BY does to the plain columns beside it (of no rows there is one row of NULLs;
``ONLY_FULL_GROUP_BY`` is off in MariaDB), nor what ROLLUP leaves out, nor always an outer join
of views or derived tables: a statement or a view with one of these is nullable in all but its
counts. So is a view whose text this user may not read, and what stands beside a stored
function, which may be an aggregate. ``x > ALL (SELECT ...)`` and JSON_DEPTH are flagged
NOT NULL and can be NULL.

All of it is found by the words of a statement; rather too much doubt than too little.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from sqla_typedpool.describe.mysql.packets import Definition
from sqla_typedpool.tokens import TokenKind, output_items, tokens

_AGGREGATES = frozenset(
    {
        *("avg", "bit_and", "bit_or", "bit_xor", "count", "group_concat", "max", "min", "std"),
        *("stddev", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp", "variance"),
        *("json_arrayagg", "json_objectagg", "any_value"),
    }
)


class Doubt(IntEnum):
    """How far the flags of a statement can be trusted."""

    NONE = 0
    ABOUT_EXPRESSIONS = 1
    """An outer join of tables; ``> ALL (SELECT ...)`` and JSON_DEPTH, whose flags are wrong."""
    ABOUT_ALL = 2
    """A row of NULLs may stand where there is none; or an outer join of views or derived
    tables, some of whose columns keep their flag in it (MariaDB 10.11)."""


@dataclass(frozen=True)
class Flags:
    """What the flags of one statement's columns are worth."""

    doubt: Doubt
    counts: frozenset[int]
    """The columns, from 0, that are a COUNT and nothing else."""

    def judge(self, place: int, column: Definition) -> tuple[bool, str]:
        """Whether a column may be NULL, and why."""
        name = f"{column.table}.{column.org_name}" if column.org_name else "the expression"
        if not column.is_not_null:
            return True, f"{name} may be NULL, says the server"
        if self._trusts(place, column):
            return False, f"{name} is NOT NULL, says the server"
        if self.doubt is Doubt.ABOUT_ALL:
            return True, "an aggregate, ROLLUP or an outer join may leave it out"
        return True, f"an outer join may leave {name} out"

    def _trusts(self, place: int, column: Definition) -> bool:
        if self.doubt is Doubt.NONE or place in self.counts:
            return True
        return self.doubt is Doubt.ABOUT_EXPRESSIONS and bool(column.schema and column.org_name)


class Doubts:
    """What is doubtful in one database.

    :param views: every view's text, by its name in lower case; "" for one that may not be read.
    :param functions: the stored functions: each may aggregate, which the catalogue does not tell.
    """

    def __init__(self, views: dict[str, str], functions: frozenset[str]) -> None:
        self._views = views
        self._aggregates = _AGGREGATES | functions

    def flags(self, sql: str, columns: int) -> Flags:
        """What the flags of this statement's columns are worth.

        :param columns: how many it has.
        """
        texts = self._texts(sql)
        doubt = max(_doubt_of(text, self._aggregates) for text in texts)
        reads_queries = len(texts) > 1 or words_of(sql).count("select") > 1
        if doubt and reads_queries:
            doubt = Doubt.ABOUT_ALL
        return Flags(doubt, _counts(sql, columns) if doubt else frozenset())

    def _texts(self, sql: str) -> set[str]:
        """The statement, and the views that it may read."""
        texts, waiting = set[str](), [sql]
        while waiting:
            text = waiting.pop()
            texts.add(text)
            names = _names(text)
            waiting += [
                view for name, view in self._views.items() if name in names and view not in texts
            ]
        return texts


def _doubt_of(sql: str, aggregates: frozenset[str]) -> Doubt:
    words = words_of(sql)
    pairs = list(pairwise(words))
    has_aggregate = any(word in aggregates and after == "(" for word, after in pairs)
    is_grouped = pairs.count(("group", "by")) >= words.count("select")
    if not words or "rollup" in words or (has_aggregate and not is_grouped):
        return Doubt.ABOUT_ALL
    is_outer = any(word in ("left", "right", "full") for word in words)
    is_wrong = "json_depth" in words or ("all", "(") in pairs
    return Doubt.ABOUT_EXPRESSIONS if is_outer or is_wrong else Doubt.NONE


def _counts(sql: str, columns: int) -> frozenset[int]:
    items = output_items(sql.replace("`", '"'))
    if len(items) != columns:
        return frozenset()
    texts = [sql[start:end].strip().lower() for start, end in items]
    return frozenset(
        place
        for place, text in enumerate(texts)
        if re.fullmatch(r"count\([^()]*\)(\s+(as\s+)?[\w`]+)?", text)
    )


def words_of(sql: str) -> list[str]:
    """The tokens of a statement, in lower case."""
    return [each.text.lower() for each in tokens(sql.replace("`", '"'))]


def _names(sql: str) -> set[str]:
    kinds = (TokenKind.WORD, TokenKind.NAME, TokenKind.STRING)
    found = [each.text.strip('"') for each in tokens(sql.replace("`", '"')) if each.kind in kinds]
    return {part.lower() for each in found for part in each.split(".")}
