"""SQL files of declared queries: one query in a file, or several with names.

A file is read once. It is read again only if it has changed, for a module that is imported again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from sqla_typedpool.tokens import NamedQuery, hidden_name_line, key_of, named_queries

_MAX_FILES = 100  # in the cache
_MAX_NAMES = 10  # in an error


class SqlFileError(Exception):
    """A file does not have the query. The message states why, and the next step."""


@dataclass(frozen=True)
class SqlInFile:
    """The SQL of a query in a file."""

    file: Path
    sql: str

    # Its name as the file has it; None = the whole file is the query.
    name: str | None = None

    # The line on which the SQL begins, if the query has a name.
    line: int | None = None


def whole_file(file: Path) -> SqlInFile:
    """Return the SQL of a file that is one query.

    :raises SqlFileError: it has named queries.
    :raises OSError: it cannot be read.
    :raises UnicodeDecodeError: it is not UTF-8.
    """
    sql = _text_of(file)
    named = [each.name for each in named_queries(sql) if each.is_valid]
    if named:
        raise SqlFileError(
            f"{file} has named queries ({_listed(named)}), and query() has no name; next: write "
            f"query(path=..., name={named[0]!r})"
        )
    return SqlInFile(file, sql)


def named_query(file: Path, name: str) -> SqlInFile:
    """Return the SQL of a named query: ``get_user`` and ``get-user`` are the same name.

    :raises SqlFileError: there is no such query, or several have the name.
    :raises OSError: it cannot be read.
    :raises UnicodeDecodeError: it is not UTF-8.
    """
    if not isinstance(name, str):
        raise SqlFileError(f"name={name!r} is not a name; next: write a str")
    text = _text_of(file)
    same = [each for each in named_queries(text) if each.key == key_of(name)]
    if not same or not all(each.is_valid for each in same):
        raise SqlFileError(_missing(file, text, name))
    if len(same) > 1:
        lines = " and ".join(str(_line(text, each.at)) for each in same)
        raise SqlFileError(
            f"{file} has {len(same)} queries with the name {key_of(name)} (lines {lines}); next: "
            "rename all but one"
        )
    (found,) = same
    return SqlInFile(file, text[found.start : found.end], found.name, _line(text, found.start))


def _text_of(file: Path) -> str:
    found = os.stat(file)
    return _read(file, found.st_mtime_ns, found.st_size)


@lru_cache(_MAX_FILES)
def _read(file: Path, *_version: int) -> str:
    return file.read_text(encoding="utf-8-sig")


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


# ------------------------------------------------------------------- names that are not found


def _missing(file: Path, text: str, name: str) -> str:
    """Return the error for a name that the file does not have."""
    queries, hidden = named_queries(text), hidden_name_line(text, name)
    close = _similar(name, queries)
    invalid = [each for each in close or queries if not each.is_valid]
    if hidden is not None:
        hint = (
            f"next: end the string or the comment that contains line {_line(text, hidden)}; a "
            "quote in a string is written ''"
        )
    elif not queries:
        hint = f"next: write -- name: {key_of(name)} above the statement, or remove the name"
    elif invalid:
        hint = f"next: correct line {_invalid(text, invalid[0])}"
    elif close:
        hint = f"did you mean {' or '.join(each.name for each in close)}?"
    else:
        hint = f"next: use one of its names: {_listed([each.name for each in queries])}"
    return f"{file} has no query with the name {name}; {hint}"


def _invalid(text: str, query: NamedQuery) -> str:
    return f"{_line(text, query.at)}, where {query.name!r} is not a name"


def _similar(name: str, queries: tuple[NamedQuery, ...]) -> list[NamedQuery]:
    plain = {_plain(each.name): each for each in queries}
    return [plain[each] for each in get_close_matches(_plain(name), plain, 3)]


def _plain(name: str) -> str:
    """Return a name such that ``GetUser`` and ``get_user`` are similar."""
    return key_of(name).replace("_", "").lower()


def _listed(names: list[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
