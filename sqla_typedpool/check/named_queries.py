"""Named queries of SQL files: where each one is, and whether the code uses it as the file says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.rules import NAME_SUFFIX, UNUSED_NAME, finding
from sqla_typedpool.check.source_files import Position, lines_of, text_of
from sqla_typedpool.queries import Cardinality, Origin, QueryInfo
from sqla_typedpool.tokens import NamedQuery, key_of, named_queries

_ROWS = (Cardinality.ALL, Cardinality.STREAM)
_ONE_ROW = (Cardinality.ONE, Cardinality.OPTIONAL)
_NO_ROWS = (Cardinality.COUNT, Cardinality.NOTHING)
# What each suffix says about the rows, and the cardinalities that agree with it. The others say
# nothing about them, or are about lists of parameters and scripts, which @query does not have.
_SUFFIXES: dict[str, tuple[str, tuple[Cardinality, ...]]] = {
    **dict.fromkeys(("^", ":one"), ("one row", _ONE_ROW)),
    "$": ("one value", _ONE_ROW),
    ":many": ("any number of rows", _ROWS),
    **dict.fromkeys(("!", ":exec", ":execrows", ":execresult"), ("no rows", _NO_ROWS)),
}


@dataclass(frozen=True)
class SqlPart:
    """The part of a SQL file that is one query."""

    text: str

    # The position of the first character.
    first: Position

    # The line with the name, and the last line of the statement; lines are counted from 1.
    name_line: int
    last_line: int
    suffix: str


def part_of(origin: Origin) -> SqlPart | None:
    """Return the part of a file that is a named query; None if it has no name or has gone."""
    if origin.sql_file is None or origin.sql_name is None:
        return None
    text, key = _text(origin.sql_file), key_of(origin.sql_name)
    found = next((each for each in named_queries(text) if each.key == key), None)
    return None if found is None else _part(text, found)


def _part(text: str, query: NamedQuery) -> SqlPart:
    line_start = text.rfind("\n", 0, query.start) + 1
    return SqlPart(
        text[query.start : query.end],
        Position(_line(text, query.start), query.start - line_start + 1),
        _line(text, query.at),
        _line(text, query.end),
        query.suffix,
    )


def _text(file: Path) -> str:
    return text_of(file).removeprefix("\ufeff")


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


# --------------------------------------------------------------------------- findings


def contradicted_suffix(info: QueryInfo) -> Iterator[Finding]:
    """Yield a finding if the suffix of a named query contradicts the function.

    :raises DeclarationError: the return annotation cannot be resolved.
    """
    part = part_of(info.origin)
    if part is None or part.suffix not in _SUFFIXES or info.origin.sql_file is None:
        return
    rows, cardinalities = _SUFFIXES[part.suffix]
    if info.cardinality not in cardinalities:
        yield finding(
            NAME_SUFFIX,
            f"{info.origin.sql_name} has the suffix {part.suffix}, which stands for {rows}, but "
            f"the function returns {_RETURNED[info.cardinality]}",
            _location_of_name(info.origin.sql_file, part.name_line),
            query=info.name,
            reason="only the return annotation decides what a call returns",
            hint="correct the suffix or the return annotation, or remove the suffix",
        )


_RETURNED = {
    **dict.fromkeys(_ROWS, "all rows"),
    **dict.fromkeys(_ONE_ROW, "one row"),
    **dict.fromkeys(_NO_ROWS, "no rows"),
}


def unused_names(queries: Iterable[QueryInfo], imported: Iterable[QueryInfo]) -> Iterator[Finding]:
    """Yield a finding for each named query that no declared query uses.

    :param queries: the queries that are checked; only their files are searched.
    :param imported: all queries that are declared.
    """
    checked, declared = _named(queries), _named(imported)
    for file in sorted({file for file, _ in checked}):
        text = _text(file)
        for each in named_queries(text):
            if each.is_valid and (file, each.key) in declared | checked:
                continue
            yield _unused(file, _line(text, each.at), each)


def _named(queries: Iterable[QueryInfo]) -> set[tuple[Path, str]]:
    origins = (info.origin for info in queries)
    return {
        (each.sql_file, key_of(each.sql_name))
        for each in origins
        if each.sql_file is not None and each.sql_name is not None
    }


def _unused(file: Path, line: int, query: NamedQuery) -> Finding:
    message = f"no declared query uses {query.name}"
    hint = f"declare it with query(path=..., name={query.name!r}), or remove it"
    if not query.is_valid:
        message = f"{query.name!r} is not the name of a query"
        hint = "write a name, such as -- name: get_user"
    location = _location_of_name(file, line)
    return finding(UNUSED_NAME, message, location, hint=hint, subject=query.name)


def _location_of_name(file: Path, line: int) -> Location:
    written = lines_of(file)[line - 1].removeprefix("\ufeff")
    code = written.strip()
    return Location(file, line, len(written) - len(written.lstrip()) + 1, len(code) or 1)
