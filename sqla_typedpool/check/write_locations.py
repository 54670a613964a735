"""The places of the values that a statement writes, for findings.

The SQL of a Core statement is in no file: there the place is the line of the decorator, and the
details of the finding have the sent SQL with the offset of the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sqla_typedpool.check.locations import (
    location_in_sql,
    location_of_bind,
    location_of_query,
    sent_span,
)
from sqla_typedpool.check.model import Location
from sqla_typedpool.queries import QueryInfo
from sqla_typedpool.tokens import TokenKind, WrittenValue, insert_targets, written_values


@dataclass(frozen=True)
class Place:
    """A place in the SQL of a query."""

    location: Location

    # The sent SQL of a Core statement, and the place in it.
    details: dict[str, str]


@dataclass(frozen=True)
class Places:
    """The places in the SQL of one query."""

    info: QueryInfo

    # The SQL as it is sent.
    sent: str

    def of_target(self, table: str) -> Place:
        """Return the column list of the INSERT into a table; without a list, its table.

        If there are several INSERTs, and none of them names the table, it is the first one.
        """
        targets = insert_targets(self._sql)
        named = [each for each in targets if _is_same(each.table, table)]
        for target in named or targets:
            return self._place(target.start, target.end)
        return self._of_query()

    def of_value(self, column: str, word: str, *, is_insert: bool, table: str) -> Place:
        """Return the place of a value that is the keyword ``word``, or contains it."""
        values = self._values_of(column, table, is_insert=is_insert)
        unnamed = [each for each in self._values if not each.column and each.is_only(word)]
        for found in (
            [each for each in values if each.is_only(word)],
            [each for each in values if any(token.is_word(word) for token in each.tokens)],
            unnamed if is_insert else [],
        ):
            if found:
                return self._of(found[0])
        return self.of_expression(column, is_insert=is_insert, table=table)

    def of_expression(self, column: str, *, is_insert: bool, table: str) -> Place:
        """Return the place of a value that is neither a parameter nor a constant.

        If there is none, it is the first value of the column. If several parts of the statement
        write the column, it is the target of the INSERT, or the query.
        """
        values = self._values_of(column, table, is_insert=is_insert)
        if len({each.part for each in values}) == 1:
            return self._of(min(values, key=_is_simple))
        return self.of_target(table) if is_insert else self._of_query()

    def of_bind(self, name: str, column: str, *, is_insert: bool, table: str) -> Place:
        """Return the place where a parameter is written, or else where it is first used."""
        if not self.info.is_text:
            values = self._values_of(column, table, is_insert=is_insert)
            return self._of(values[0]) if values else self._of_query()
        for values in (self._values_of(column, table, is_insert=is_insert), self._values):
            for token in (token for value in values for token in value.tokens):
                if token.kind is TokenKind.BIND and token.text[1:] == name:
                    return self._place(token.start, token.end)
        return Place(location_of_bind(self.info, name), {})

    @property
    def _sql(self) -> str:
        return self.info.sql if self.info.is_text else self.sent

    @cached_property
    def _values(self) -> list[WrittenValue]:
        return written_values(self._sql)

    def _values_of(self, column: str, table: str, *, is_insert: bool) -> list[WrittenValue]:
        """Return the values of a column; none if those of another table may be among them.

        A statement may write to the table through a view, which has another name.
        """
        found = [
            each
            for each in self._values
            if each.part.is_insert == is_insert and _is_same(each.column, column)
        ]
        named = [each for each in found if _is_same(each.part.table, table)]
        return named or (found if len({each.part for each in found}) == 1 else [])

    def _of(self, value: WrittenValue) -> Place:
        return self._place(value.start, value.end)

    def _place(self, start: int, end: int) -> Place:
        if self.info.is_text:
            return Place(location_in_sql(self.info, start, end - start), {})
        span = sent_span(start, end - start)
        return Place(location_of_query(self.info), {"sql": self.sent, **span})

    def _of_query(self) -> Place:
        return Place(location_of_query(self.info), {} if self.info.is_text else {"sql": self.sent})


def _is_simple(value: WrittenValue) -> bool:
    return len(value.tokens) == 1 and value.tokens[0].kind not in (TokenKind.WORD, TokenKind.NAME)


def _is_same(one: str, other: str) -> bool:
    """Return whether two names are the same, apart from upper and lower case."""
    return one.casefold() == other.casefold()
