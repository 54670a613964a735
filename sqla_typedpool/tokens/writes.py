"""Find where a statement names the columns that it writes, and their values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

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


@dataclass(frozen=True)
class WrittenValue:
    """The text of a value that is written to a column."""

    # The name of the column, without quotes; "" if an INSERT does not list its columns.
    column: str

    # Whether an INSERT writes it, and no UPDATE.
    is_insert: bool
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
            for row in self.rows(after):
                yield from _pairs(target.columns, row, is_insert=True)
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
        last = first
        while self.is_symbol(last + 1, "."):
            last += 2
        table = _name(self.found[last]) if last < len(self.found) else ""
        return self.columns_of(table, min(last, len(self.found) - 1), last + 1)

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
                part, depth = self.found[: self.end_of_part(index)], self.depths[index]
                for item in split_list(part, self.depths, index + 1, depth, _AFTER_SET):
                    yield from self.assignment(item, is_insert=is_insert)

    def end_of_part(self, start: int) -> int:
        """Return the index of the next ``WHEN MATCHED`` or ``WHEN NOT MATCHED`` of MERGE."""
        for index in self.same_depth(start):
            words = self.found[index + 1 : index + 3]
            if self.found[index].is_word("WHEN") and any(each.is_word("MATCHED") for each in words):
                return index
        return len(self.found)

    def assignment(self, item: list[Token], *, is_insert: bool) -> Iterator[WrittenValue]:
        equals = next((n for n, each in enumerate(item) if each.is_symbol("=")), 0)
        if not 0 < equals < len(item) - 1:
            return
        columns, value = item[:equals], item[equals + 1 :]
        if not columns[0].is_symbol("("):
            yield WrittenValue(_name(columns[-1]), is_insert, tuple(value))
            return
        names = tuple(_name(each) for each in columns if each.kind is not TokenKind.SYMBOL)
        start = 1 if value[0].is_word("ROW") else 0
        values = _split(value[start + 1 : -1])
        if value[start].is_symbol("(") and len(values) == len(names):
            yield from _pairs(names, values, is_insert=is_insert)

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
    columns: tuple[str, ...], row: list[list[Token]], *, is_insert: bool
) -> Iterator[WrittenValue]:
    """Yield the values of a row with their columns; a value too many has none."""
    for column, item in zip_longest(columns, row, fillvalue=None):
        if item:
            yield WrittenValue(str(column or ""), is_insert, tuple(item))


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
