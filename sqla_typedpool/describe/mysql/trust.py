"""How far the NOT NULL flags of MySQL and MariaDB can be trusted.

The flags are right for plain columns, for joins of tables, for set operations and for the functions
listed here (tried on MariaDB 10.11). They are not always right

- beside an aggregate without GROUP BY: without rows there is one row, whose plain columns are NULL
  (allowed unless ``ONLY_FULL_GROUP_BY`` is set, which it is not in MariaDB), or with ROLLUP;
- for an outer join of views or derived tables, some of whose columns keep their flags;
- for ``> ALL (SELECT ...)``, ``> ANY (SELECT ...)``, a comparison of rows, and JSON functions.

The shape of a statement, and of the views that it reads, is found from its tokens. A flag is
trusted only if the shape is known; a function that is not listed may be an aggregate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from sqla_typedpool.describe.mysql.narrowing import NotNullColumn, not_null_columns
from sqla_typedpool.describe.mysql.packets import ColumnDefinition
from sqla_typedpool.describe.mysql.subqueries import without_aggregates
from sqla_typedpool.describe.mysql.words import (
    AGGREGATES,
    FUNCTIONS,
    LIST_WORDS,
    OTHER_WORDS,
    STATEMENTS,
    UNRELIABLE,
    functions_of,
    standard,
    words_of,
)
from sqla_typedpool.describe.nullability import Nullability, maybe, never
from sqla_typedpool.tokens import TokenKind, output_items, tokens

# What only MySQL reads in this way: \' in strings; executable comments, -- that is no comment,
# comments that begin with /* /* and end with the first */.
_ESCAPED_QUOTE = re.compile(r"\\['\"]")
_OTHER_COMMENT = re.compile(r"/\*M?!|--(?!\s|$)|/\*(?:(?!\*/).)*/\*", re.DOTALL)


class Trust(IntEnum):
    """Which NOT NULL flags of a statement are trusted. Each level includes the ones before."""

    NOTHING = 0
    # Those of columns that are a COUNT and nothing else.
    COUNTS = 1
    # Those of columns of tables.
    COLUMNS = 2
    ALL = 3


@dataclass(frozen=True)
class FlagTrust:
    """Which NOT NULL flags of one statement are trusted."""

    trust: Trust
    # The columns, from 0, that are a COUNT and nothing else.
    counts: frozenset[int]
    # The columns, from 0, that are a scalar subquery with a COUNT. The server has no flag for them.
    subquery_counts: frozenset[int] = frozenset()
    # The columns that the WHERE proves to be not NULL. The server does not consider it.
    narrowed: frozenset[NotNullColumn] = frozenset()

    def nullability(self, index: int, column: ColumnDefinition) -> Nullability:
        """Return the nullability of the column with this index."""
        name = f"{column.table}.{column.org_name}" if column.org_name else "the expression"
        if index in self.subquery_counts:
            return never("count(...) of a subquery is never NULL")
        if self._is_narrowed(column):
            return never(f"WHERE excludes NULL in {name}")
        if not column.is_not_null:
            return maybe(f"the server reports that {name} may be NULL")
        if self._is_trusted(index, column):
            return never(f"the server reports that {name} is NOT NULL")
        if self.trust is Trust.COLUMNS:
            return maybe(f"{name} may be NULL: an outer join, or an unknown expression")
        return maybe(f"{name} may be NULL: an aggregate, ROLLUP, an outer join or unknown syntax")

    def _is_narrowed(self, column: ColumnDefinition) -> bool:
        if not (column.schema and column.org_name) or self.trust < Trust.COLUMNS:
            return False
        named = (NotNullColumn(table, column.org_name.lower()) for table in ("", column.table))
        return not self.narrowed.isdisjoint(named)

    def _is_trusted(self, index: int, column: ColumnDefinition) -> bool:
        if index in self.counts or self.trust is Trust.ALL:
            return True
        return self.trust is Trust.COLUMNS and bool(column.schema and column.org_name)


class Schema:
    """The views and stored functions that statements may use.

    :param views: the text of each view by name in lower case; "" if the user may not read it.
    :param functions: the names of the stored functions in lower case. Any of them may be an
        aggregate, which the catalog does not report.
    """

    def __init__(self, views: dict[str, str], functions: frozenset[str]) -> None:
        self._views = views
        self._stored = functions

    def flag_trust(self, sql: str, count: int) -> FlagTrust:
        """Return which NOT NULL flags of this statement are trusted.

        :param count: the number of its columns.
        """
        if has_other_syntax(sql):
            return FlagTrust(Trust.NOTHING, frozenset())
        reduced = without_aggregates(sql, self._stored)
        texts, words = self._texts(reduced.sql), words_of(reduced.sql)
        trust = min(map(self._trust_in, texts))
        reads_queries = len(texts) > 1 or words.count("select") > 1
        if trust is Trust.COLUMNS and reads_queries:
            trust = Trust.COUNTS
        has_counts = trust in (Trust.COUNTS, Trust.COLUMNS)
        counts = _counts(sql, count) if has_counts else frozenset()
        if len(texts) > 1 or trust is Trust.NOTHING:
            return FlagTrust(trust, counts)
        is_one_query = words[:1] == ["select"] and not reads_queries and not _has_rollup(words)
        return FlagTrust(
            trust,
            counts,
            reduced.counts if is_one_query else frozenset(),
            not_null_columns(reduced.sql),
        )

    def _texts(self, sql: str) -> set[str]:
        """Return the statement and the texts of all views that it may read."""
        texts, waiting = set[str](), [sql]
        while waiting:
            text = waiting.pop()
            texts.add(text)
            names = _names(text)
            waiting += [
                view for name, view in self._views.items() if name in names and view not in texts
            ]
        return texts

    def _trust_in(self, text: str) -> Trust:
        words = words_of(text)
        if has_other_syntax(text) or any(word.startswith(("#", "$")) for word in words):
            return Trust.NOTHING
        if not words or words[0] not in STATEMENTS or _has_rollup(words):
            return Trust.COUNTS
        functions = set(functions_of(words))
        aggregates = functions & AGGREGATES - self._stored
        unlisted = functions - aggregates - (FUNCTIONS - self._stored)
        is_grouped = list(pairwise(words)).count(("group", "by")) >= words.count("select")
        if any(map(self._may_aggregate, unlisted)) or (aggregates and not is_grouped):
            return Trust.COUNTS
        is_outer_join = not {"left", "right", "full"}.isdisjoint(words)
        return Trust.COLUMNS if unlisted or is_outer_join or _has_row(words) else Trust.ALL

    def _may_aggregate(self, function: str) -> bool:
        """Return whether a function that is not listed may be an aggregate."""
        is_known = function in UNRELIABLE or function.startswith("json_")
        return not is_known or function in self._stored


def has_other_syntax(text: str) -> bool:
    """Return whether the tokens found by the rules of standard SQL may not be those of MySQL."""
    if _ESCAPED_QUOTE.search(text):
        return True
    outside, end = "", 0
    for token in tokens(standard(text)):
        if token.kind in (TokenKind.STRING, TokenKind.NAME):
            if token.kind is TokenKind.NAME and {'"', "`"} <= set(text[token.start : token.end]):
                return True  # in MySQL, one of them does not end what the other one begins
            outside += text[end : token.start] + " "
            end = token.end
    return _OTHER_COMMENT.search(outside + text[end:]) is not None


def _has_rollup(words: Sequence[str]) -> bool:
    """Return whether there is a WITH that does not begin a common table expression."""
    return any(word == "with" and before != "(" for before, word in pairwise(words))


def _has_row(words: Sequence[str]) -> bool:
    """Return whether there is a parenthesis around several values: ``(1, 2)``."""
    opened: list[int] = []
    for index, word in enumerate(words):
        if word == "(":
            opened.append(index)
        elif word == ")" and opened:
            opened.pop()
        elif word == "," and opened and _opens_row(words, opened[-1]):
            return True
    return False


def _opens_row(words: Sequence[str], index: int) -> bool:
    before = words[index - 1] if index else ""
    is_list = before in LIST_WORDS or words[index + 1] in ("select", "with", "values")
    return not is_list and (before in OTHER_WORDS or not re.match(r'[\w"]', before))


def _counts(sql: str, count: int) -> frozenset[int]:
    items = output_items(standard(sql))
    if len(items) != count:
        return frozenset()
    texts = [sql[start:end].strip().lower() for start, end in items]
    return frozenset(
        index
        for index, text in enumerate(texts)
        if re.fullmatch(r"count\([^()]*\)(\s+(as\s+)?[\w`]+)?", text)
    )


def _names(sql: str) -> set[str]:
    kinds = (TokenKind.WORD, TokenKind.NAME, TokenKind.STRING)
    found = [each.text.strip('"') for each in tokens(standard(sql)) if each.kind in kinds]
    return {part.lower() for each in found for part in each.split(".")}
