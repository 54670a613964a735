"""What is left out of a report: comments beside the code, and the choice of a whole run."""

from __future__ import annotations

import io
import itertools
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.rules import CODES, finding, unknown_code
from sqla_typedpool.check.source_files import last_line_of_call, text_of
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.queries import QueryInfo

_COMMENT = re.compile(r"(?:#|--)\s*typedpool:\s*ignore\b(?:\s*\[(?P<codes>[^\]]*)\])?")
# Where these are found the rest of the query was not looked at.
_BLINDING = ("TP301", "TP303", "TP401", "TP403")


def prefix_of(written: str) -> str:
    """``tp101`` -> ``TP101``, ``TP1xx`` -> ``TP1``, ``ALL`` -> ``TP``: what codes begin with.

    :raises CannotRun: no code begins so; with the nearest ones.
    """
    prefix = re.sub("X+$", "", written.strip().upper())
    prefix = "TP" if prefix == "ALL" else prefix
    if not prefix or not any(code.startswith(prefix) for code in CODES):
        raise CannotRun(unknown_code(written))
    return prefix


# ------------------------------------------------------------------- for a whole run


@dataclass(frozen=True)
class Selection:
    """``--select`` and ``--ignore``: the longer prefix wins, and of equals ``--ignore``."""

    select: tuple[str, ...] = ("TP",)
    ignore: tuple[str, ...] = ()

    @classmethod
    def of(cls, select: Iterable[str] = (), ignore: Iterable[str] = ()) -> Selection:
        """From codes or prefixes as people write them, commas allowed.

        :param select: nothing = everything.
        :raises CannotRun: a code that does not exist.

        Example::

            Selection.of(ignore=["TP107", "TP2xx"])
        """
        return cls(_prefixes(select) or ("TP",), _prefixes(ignore))

    def keeps(self, code: str) -> bool:
        """Whether findings of a code are reported."""
        return _longest(self.select, code) > _longest(self.ignore, code)


def _prefixes(written: Iterable[str]) -> tuple[str, ...]:
    parts = (part for each in written for part in each.split(","))
    return tuple(prefix_of(part) for part in parts if part.strip())


def _longest(prefixes: tuple[str, ...], code: str) -> int:
    return max((len(each) for each in prefixes if code.startswith(each)), default=0)


# -------------------------------------------------------------------------- comments


@dataclass(frozen=True)
class Comment:
    """``# typedpool: ignore[TP101]`` somewhere in a file."""

    place: Location
    prefixes: tuple[str, ...]
    """What it silences; ("TP",) of a bare one."""

    unknown: tuple[str, ...] = ()
    """What stands in it and is no code."""

    def covers(self, code: str) -> bool:
        return code != "TP001" and code.startswith(self.prefixes)


def comments_of(file: Path) -> list[Comment]:
    """Every ignore comment of a Python or SQL file."""
    return list(_comments(file, text_of(file)))


@lru_cache(200)
def _comments(file: Path, source: str) -> tuple[Comment, ...]:
    if "typedpool:" not in source:
        return ()
    found = _in_python(source) if file.suffix in (".py", ".pyi") else _in_sql(source)
    return tuple(_comment(file, line, column, match) for line, column, match in found)


Found = Iterator[tuple[int, int, "re.Match[str]"]]


def _in_python(source: str) -> Found:
    """In comments, and in the SQL of string literals."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING):
                yield from _in_lines(token.string, *token.start)
    except (tokenize.TokenError, SyntaxError):
        return


def _in_sql(source: str) -> Found:
    return _in_lines(source, 1, 0)


def _in_lines(text: str, first: int, column: int) -> Found:
    for number, line in enumerate(text.split("\n")):
        if (match := _COMMENT.search(line)) and _is_comment(text, match):
            shift = column if number == 0 else 0
            yield first + number, shift + match.start() + 1, match


def _is_comment(text: str, match: re.Match[str]) -> bool:
    """``#`` begins a comment of Python, ``--`` one of SQL."""
    return (match[0][0] == "#") == text.startswith("#")


def _comment(file: Path, line: int, column: int, match: re.Match[str]) -> Comment:
    place = Location(file, line, column, len(match[0]))
    if match["codes"] is None:
        return Comment(place, ("TP",))
    known, unknown = [], []
    for written in filter(None, map(str.strip, match["codes"].split(","))):
        try:
            known.append(prefix_of(written))
        except CannotRun:
            unknown.append(written)
    return Comment(place, tuple(known), tuple(unknown))


class Suppressions:
    """The comments of a run, and which of them were of use.

    Example::

        kept = Ignores(queries).heeded(findings)
    """

    def __init__(self, queries: Iterable[QueryInfo]) -> None:
        """
        :param queries: all that were checked; their files are searched.
        """
        self._queries: dict[str, list[QueryInfo]] = {}
        for each in queries:
            self._queries.setdefault(each.name, []).append(each)

    def apply(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings that no comment silences, and one for each comment that is of no use.

        To be called once, with everything that was found, before any selection.
        """
        found = list(findings)
        used: set[Comment] = set()
        kept = [each for each in found if not self._is_silenced(each, used)]
        blind = {each.query for each in found if each.code in _BLINDING}
        return kept + [
            each for comment in self._all(found) for each in self._of_comment(comment, used, blind)
        ]

    def _is_silenced(self, each: Finding, used: set[Comment]) -> bool:
        silencing = [comment for comment in self._beside(each) if comment.covers(each.code)]
        used.update(silencing)
        return bool(silencing)

    def _beside(self, each: Finding) -> Iterator[Comment]:
        """On the line of a finding, or on the first or last of its query's decorator."""
        lines = set()
        if each.place is not None and each.place.line is not None:
            lines.add((each.place.file, each.place.line))
        for info in self._declaring(each):
            lines |= _own_lines(info)
        for file in {file for file, _ in lines}:
            for comment in comments_of(file):
                if (file, comment.place.line) in lines:
                    yield comment

    def _declaring(self, each: Finding) -> list[QueryInfo]:
        """The query of a finding; of several of one name, the one where it stands."""
        named = self._queries.get(each.query or "", [])
        return [info for info in named if each.place and _contains(info, each.place)] or named

    def _all(self, found: list[Finding]) -> Iterator[Comment]:
        files = {each.place.file for each in found if each.place is not None}
        for info in itertools.chain.from_iterable(self._queries.values()):
            files |= {info.origin.file, info.origin.sql_file or info.origin.file}
        for file in sorted(files):
            yield from comments_of(file)

    def _of_comment(
        self, comment: Comment, used: set[Comment], blind: set[str | None]
    ) -> Iterator[Finding]:
        for written in comment.unknown:
            yield finding("TP001", unknown_code(written), comment.place, subject=written)
        if comment in used or not comment.prefixes or self._is_blind(comment, blind):
            return
        codes = ", ".join(comment.prefixes)
        what = "anything" if comment.prefixes == ("TP",) else codes
        message = f"nothing here needs it: there is no finding of {what} to ignore"
        yield finding("TP001", message, comment.place, hint="remove the comment", subject=codes)

    def _is_blind(self, comment: Comment, blind: set[str | None]) -> bool:
        """Whether it belongs to a query that was not looked at as a whole."""
        return any(
            _contains(info, comment.place)
            for name in blind
            for info in self._queries.get(name or "", ())
        )


def _own_lines(info: QueryInfo) -> set[tuple[Path, int]]:
    origin = info.origin
    last = last_line_of_call(origin.file, origin.line)
    return {(origin.file, origin.line), (origin.file, last)}


def _contains(info: QueryInfo, place: Location) -> bool:
    origin = info.origin
    if place.file == origin.sql_file:
        return True
    last = last_line_of_call(origin.file, origin.line)
    return place.file == origin.file and origin.line <= (place.line or 0) <= last
