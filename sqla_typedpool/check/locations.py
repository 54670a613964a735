"""The locations of findings: a column or a parameter of the SQL, in a Python or an SQL file.

If the exact place is unknown, the location is the next larger one: all of the output, or the
line of the decorator.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from sqla_typedpool.check.model import Location
from sqla_typedpool.check.named_queries import part_of
from sqla_typedpool.check.source_files import (
    Position,
    aligned,
    lines_of,
    positions_in_literal,
    positions_of,
    text_of,
)
from sqla_typedpool.queries import QueryInfo
from sqla_typedpool.tokens import TokenKind, output_items, stars, tokens

_Span = tuple[int, int]
# The placeholder that SQLAlchemy writes for `:ids` in `IN :ids`.
_EXPANDED = re.compile(r"\((?:\$\d+|\?|%s)\)")


def location_of_query(info: QueryInfo) -> Location:
    """Return the line of the query's decorator."""
    return location_of_line(info.origin.file, info.origin.line)


def location_of_line(file: Path, number: int) -> Location:
    """Return the code of a line, without its indentation and its comment."""
    lines = lines_of(file)
    if not 0 < number <= len(lines):
        return Location(file, number)
    line = lines[number - 1]
    code = line.partition("  #")[0].strip()
    return Location(file, number, len(line) - len(line.lstrip()) + 1, len(code) or 1)


def location_in_sql(info: QueryInfo, offset: int, length: int = 1) -> Location:
    """Return the location of a part of the query's SQL.

    :param offset: in ``info.sql``, in characters from 0.
    :param length: in characters. Only the first line of the part is underlined.
    """
    positions = _positions(info)
    if not positions:
        return location_of_query(info)
    first = positions[min(max(offset, 0), len(positions) - 1)]
    same_line = [each for each in positions[offset : offset + length] if each.line == first.line]
    width = same_line[-1].column - first.column + 1 if same_line else 1
    return Location(info.origin.sql_file or info.origin.file, first.line, first.column, width)


def _positions(info: QueryInfo) -> list[Position] | None:
    if not info.is_text:
        return None
    origin = info.origin
    if origin.sql_file is None:
        return _in_python(origin.file, origin.line, info.sql, hash(text_of(origin.file)))
    if origin.sql_name is not None:
        part = part_of(origin)
        if part is None:
            return None
        return aligned(info.sql, part.text, positions_of(part.text, part.first))
    text = text_of(origin.sql_file).removeprefix("\ufeff")
    return aligned(info.sql, text, positions_of(text))


@lru_cache(500)  # one entry for each query, because several findings can point into its SQL
def _in_python(file: Path, line: int, sql: str, _version: int) -> list[Position] | None:
    return positions_in_literal(file, line, sql)


def location_of_column(info: QueryInfo, index: int, count: int) -> Location:
    """Return the location of the output expression of a column.

    :param index: of the column, from 0.
    :param count: the number of columns of the statement, because ``*`` stands for several.
    """
    span = _output_span(info.sql, index, count) if info.is_text else None
    if span is None:
        return location_of_query(info)
    return location_in_sql(info, span[0], span[1] - span[0])


def _output_span(sql: str, index: int, count: int) -> _Span | None:
    items, all_stars = output_items(sql), stars(sql)
    if not all_stars:
        return items[index] if len(items) == count else None
    if len(all_stars) > 1:
        return None  # it is unknown how many columns each `*` stands for
    before = items.index(all_stars[0])
    after = len(items) - before - 1
    if index < before:
        return items[index]
    return items[index - count] if index >= count - after else all_stars[0]


def location_of_output(info: QueryInfo) -> Location:
    """Return the location of all output expressions."""
    items = output_items(info.sql) if info.is_text else []
    if not items:
        return location_of_query(info)
    return location_in_sql(info, items[0][0], items[-1][1] - items[0][0])


def location_of_bind(info: QueryInfo, name: str) -> Location:
    """Return the location where the SQL first uses a parameter."""
    if info.is_text:
        for token in tokens(info.sql):
            if token.kind is TokenKind.BIND and token.text[1:] == name:
                return location_in_sql(info, token.start, token.end - token.start)
    return location_of_query(info)


# ------------------------------------------------------------- the SQL as it was sent


def sent_column(sql: str, index: int, count: int) -> dict[str, str]:
    """Return the sent SQL and the place of a column in it, as details of a finding.

    It is for Core statements, whose SQL is in no file.
    """
    span = _output_span(sql, index, count)
    return {"sql": sql} | ({} if span is None else sent_span(span[0], span[1] - span[0]))


def sent_span(offset: int, length: int) -> dict[str, str]:
    """Return a part of the sent SQL as details of a finding."""
    return {"offset": str(offset), "length": str(length)}


def token_length(sql: str, offset: int) -> int:
    """Return the number of characters from an offset to the end of its token, at least 1."""
    return next((each.end - offset for each in tokens(sql) if each.start <= offset < each.end), 1)


def offset_as_written(sql: str, sent: str, offset: int) -> int | None:
    """Convert an offset in the sent SQL, with ``$1``, to one in the written SQL, with ``:name``.

    :return: None if the two texts do not match.
    """
    binds = [each for each in tokens(sql) if each.kind is TokenKind.BIND]
    edges = [0, *(edge for each in binds for edge in (each.start, each.end)), len(sql)]
    here = 0
    for start, end in list(pairwise(edges))[::2]:
        plain, offsets = _unescaped(sql, start, end)
        expanded = _EXPANDED.match(sent, here) if start else None
        found = sent.find(plain, expanded.end() if expanded else here)
        if found < 0:
            return None
        if offset < found:  # it is in the placeholder before this piece
            return max((edge for edge in edges if edge < start), default=0)
        if offset < found + len(plain):
            return offsets[offset - found]
        here = found + len(plain)
    return len(sql)


def _unescaped(sql: str, start: int, end: int) -> tuple[str, list[int]]:
    """Return a piece of text as SQLAlchemy sends it, with ``:`` for ``\\:``, and its offsets."""
    offsets = [
        offset
        for offset in range(start, end)
        if sql[offset] != "\\" or sql[offset + 1 : offset + 2] != ":"
    ]
    return "".join(sql[offset] for offset in offsets), offsets
