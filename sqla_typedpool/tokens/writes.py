"""Find where a statement names the columns that it writes, and their values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from sqla_typedpool.tokens.outputs import (
    AFTER_SELECT_LIST,
    after_brackets,
    depths_of,
    select_list,
    split_list,
)
from sqla_typedpool.tokens.reading import Token, TokenKind, tokens

_AFTER_SET = ("FROM", "WHERE", "RETURNING", "ORDER", "LIMIT", "ON")
_AFTER_TABLE = 4  # tokens between a table and its columns at most: `AS t PARTITION`


@dataclass(frozen=True)
class InsertTarget:
    """The columns of an INSERT; if it does not list them, its table."""

    # The name of the table, without quotes and schema; "" for the INSERT of MERGE.
    table: str

    # The names of the columns, without quotes; () if they are not listed.
    columns: tuple[str, ...]

    start: int
    end: int


class WritingPart(NamedTuple):
    """A part of a statement that writes rows: an INSERT, or an UPDATE or another SET."""

    # The name of the table, without quotes and schema; "" for the INSERT of MERGE.
    table: str
    is_insert: bool

    # Where its columns, or its SET, begin in the text.
    start: int


@dataclass(frozen=True)
class WrittenValue:
    """The text of a value that is written to a column."""

    part: WritingPart

    # The name of the column, without quotes; "" if an INSERT does not list its columns.
    column: str
    tokens: tuple[Token, ...]

    @property
    def start(self) -> int:
        return self.tokens[0].start

    @property
    def end(self) -> int:
        return self.tokens[-1].end

    def is_only(self, word: str) -> bool:
        """Return whether it is nothing but this keyword."""
        return len(self.tokens) == 1 and self.tokens[0].is_word(word)


def insert_targets(sql: str) -> list[InsertTarget]:
    """Return the targets of all INSERTs of a statement, those of common table expressions too."""
    return [target for target, _ in _Writes(sql).inserts()]


def written_values(sql: str) -> list[WrittenValue]:
    """Return the values that a statement writes, in order, as far as their text shows them."""
    return sorted(_Writes(sql).values(), key=lambda value: value.start)


def writes_rows(sql: str) -> bool:
    """Return whether a statement may insert or change rows."""
    return any(token.is_word("INSERT", "UPDATE", "MERGE", "REPLACE") for token in tokens(sql))


class _Writes:
    """The parts of one statement that write."""

    def __init__(self, sql: str) -> None:
        self.found = tokens(sql)
        self.depths = depths_of(self.found)

    def values(self) -> Iterator[WrittenValue]:
        for target, after in self.inserts():
            part = WritingPart(target.table, True, target.start)
            for row in self.rows(after):
                yield from _pairs(part, target.columns, row)
        yield from self.assigned()

    # ----------------------------------------------------------------------- inserts

    def inserts(self) -> Iterator[tuple[InsertTarget, int]]:
        """Yield each target, and the index of the token after it."""
        for index, token in enumerate(self.found):
            if token.is_word("INTO") and self.is_insert(index):
                yield self.insert_into(index + 1)
            elif token.is_word("INSERT") and self.is_after(index, "THEN"):
                yield self.columns_of("", index, index + 1)

    def is_insert(self, into: int) -> bool:
        """Return whether it is that of INSERT: ``INSERT OR IGNORE INTO``, ``REPLACE INTO``."""
        before = self.found[max(into - 3, 0) : into]
        return any(each.is_word("INSERT", "REPLACE") for each in before)

    def insert_into(self, first: int) -> tuple[InsertTarget, int]:
        last = self.end_of_name(first)
        table = _name(self.found[last]) if last < len(self.found) else ""
        return self.columns_of(table, min(last, len(self.found) - 1), last + 1)

    def end_of_name(self, first: int) -> int:
        """Return the index of the last part of ``schema.name``."""
        while self.is_symbol(first + 1, "."):
            first += 2
        return first

    def columns_of(self, table: str, named: int, after: int) -> tuple[InsertTarget, int]:
        """
        :param named: the index of the token that stands for a target without columns.
        """
        for opening in range(after, min(after + _AFTER_TABLE, len(self.found))):
            if self.is_symbol(opening, "(") and not self.is_query(opening + 1):
                columns = tuple(_name(item[-1]) for item in self.items(opening))
                end = after_brackets(self.depths, opening)
                span = self.found[opening].start, self.found[end - 1].end
                return InsertTarget(table, columns, *span), end
            if self.found[opening].is_word("VALUES", "SELECT", "WITH", "DEFAULT", "SET"):
                break
        token = self.found[named]
        return InsertTarget(table, (), token.start, token.end), after

    def rows(self, after: int) -> Iterator[list[list[Token]]]:
        """Yield the values of each row of an INSERT."""
        while self.is_symbol(after, "(") and self.is_query(after + 1):
            after += 1
        for index in self.same_depth(after):
            token = self.found[index]
            if token.is_word("ON", "RETURNING", "WHEN", "SET"):
                return
            if token.is_word("SELECT"):
                start, depth = select_list(self.found, self.depths, index), self.depths[index]
                yield split_list(self.found, self.depths, start, depth, AFTER_SELECT_LIST)
                return
            if token.is_symbol("(") and not self.is_query(index + 1):
                yield self.items(index)

    # ----------------------------------------------------------------------- updates

    def assigned(self) -> Iterator[WrittenValue]:
        for index, token in enumerate(self.found):
            is_set = token.is_word("SET")
            if is_set or (token.is_word("UPDATE") and self.is_after(index, "KEY")):
                is_insert = is_set and self.is_insert(index - 2)
                part = WritingPart(self.table_before(index), is_insert, token.start)
                found, depth = self.found[: self.end_of_part(index)], self.depths[index]
                for item in split_list(found, self.depths, index + 1, depth, _AFTER_SET):
                    yield from self.assignment(part, item)

    def table_before(self, index: int) -> str:
        """Return the table whose rows a SET changes; "" if it is not found."""
        for start in range(index - 1, -1, -1):
            token = self.found[start]
            is_update = token.is_word("UPDATE") and not self.is_after(start, "DO", "THEN", "KEY")
            if self.depths[start] == self.depths[index] and (is_update or token.is_word("INTO")):
                start += 2 if self.found[start + 1].is_word("ONLY") else 1
                return _name(self.found[self.end_of_name(start)])
        return ""

    def end_of_part(self, start: int) -> int:
        """Return the index of the next ``WHEN MATCHED`` or ``WHEN NOT MATCHED`` of MERGE."""
        for index in self.same_depth(start):
            words = self.found[index + 1 : index + 3]
            if self.found[index].is_word("WHEN") and any(each.is_word("MATCHED") for each in words):
                return index
        return len(self.found)

    def assignment(self, part: WritingPart, item: list[Token]) -> Iterator[WrittenValue]:
        equals = next((n for n, each in enumerate(item) if each.is_symbol("=")), 0)
        if not 0 < equals < len(item) - 1:
            return
        columns, value = item[:equals], item[equals + 1 :]
        if not columns[0].is_symbol("("):
            yield WrittenValue(part, _name(columns[-1]), tuple(value))
            return
        names = tuple(_name(each) for each in columns if each.kind is not TokenKind.SYMBOL)
        start = 1 if value[0].is_word("ROW") else 0
        values = _split(value[start + 1 : -1])
        if value[start].is_symbol("(") and len(values) == len(names):
            yield from _pairs(part, names, values)

    # ------------------------------------------------------------------------ tokens

    def same_depth(self, start: int) -> Iterator[int]:
        """Yield the indexes from here on that the same brackets enclose, and no others."""
        for index in range(start, len(self.found)):
            if self.depths[index] < self.depths[start]:
                return
            if self.depths[index] == self.depths[start]:
                yield index

    def items(self, opening: int) -> list[list[Token]]:
        return split_list(self.found, self.depths, opening + 1, self.depths[opening] + 1, ())

    def is_query(self, index: int) -> bool:
        return index < len(self.found) and self.found[index].is_word("SELECT", "WITH", "VALUES")

    def is_symbol(self, index: int, symbol: str) -> bool:
        return index < len(self.found) - 1 and self.found[index].is_symbol(symbol)

    def is_after(self, index: int, *words: str) -> bool:
        return index > 0 and self.found[index - 1].is_word(*words)


def _pairs(
    part: WritingPart, columns: tuple[str, ...], row: list[list[Token]]
) -> Iterator[WrittenValue]:
    """Yield the values of a row with their columns; a value too many has none."""
    for column, item in zip_longest(columns, row, fillvalue=None):
        if item:
            yield WrittenValue(part, str(column or ""), tuple(item))


def _split(inside: list[Token]) -> list[list[Token]]:
    """Split the values inside brackets: those of a row, or the columns of a subquery."""
    depths = depths_of(inside)
    if inside and inside[0].is_word("SELECT"):
        return split_list(inside, depths, select_list(inside, depths, 0), 0, AFTER_SELECT_LIST)
    return split_list(inside, depths, 0, 0, ())


def _name(token: Token) -> str:
    """Return a name as the database stores it: without quotes, or in lower case."""
    if token.kind is not TokenKind.NAME:
        return token.text.lower()
    quote = token.text[-1]
    return token.text.lstrip("uU&")[1:-1].replace(quote * 2, quote)
