"""Suppressed findings: by comments beside the code, and by ``--select`` and ``--ignore``."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sqla_typedpool.check import rules
from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.named_queries import part_of
from sqla_typedpool.check.rules import RULES, finding, unknown_code
from sqla_typedpool.check.source_files import last_line_of_decorator, text_of
from sqla_typedpool.errors import CannotRun, DeclarationError
from sqla_typedpool.queries import Origin, QueryInfo

_COMMENT = re.compile(r"(?:#|--)\s*typedpool:\s*ignore\b(?:\s*\[(?P<codes>[^\]]*)\])?")
_ALL = "TP"  # the prefix of every code
# A query with one of these findings was not checked completely.
_INCOMPLETE = (
    *(rules.REFUSED_STATEMENT.code, rules.WRONG_DECLARATION.code),
    *(rules.MISSING_SNAPSHOT.code, rules.DAMAGED_SNAPSHOT.code),
)


def prefix_of(written: str) -> str:
    """Return the prefix of the codes that a user means.

    ``tp101`` means ``TP101``, ``TP1xx`` means ``TP1``, and ``ALL`` means ``TP``.

    :raises CannotRun: no code has this prefix; the message names similar codes.
    """
    prefix = re.sub("X+$", "", written.strip().upper())
    prefix = _ALL if prefix == "ALL" else prefix
    if not prefix or not any(code.startswith(prefix) for code in RULES):
        raise CannotRun(unknown_code(written))
    return prefix


# ---------------------------------------------------------------- for a whole run


@dataclass(frozen=True)
class Selection:
    """The codes to report, from ``--select`` and ``--ignore``.

    The longer prefix takes precedence. If both are equally long, ``--ignore`` does.
    """

    select: tuple[str, ...] = (_ALL,)
    ignore: tuple[str, ...] = ()

    @classmethod
    def of(cls, select: Iterable[str] = (), ignore: Iterable[str] = ()) -> Selection:
        """Make a selection from codes or prefixes as users write them, also with commas.

        :param select: empty selects everything.
        :raises CannotRun: a code does not exist.

        Example::

            Selection.of(ignore=["TP107", "TP2xx"])
        """
        return cls(_prefixes(select) or (_ALL,), _prefixes(ignore))

    def includes(self, code: str) -> bool:
        """Return whether findings with this code are reported."""
        return _longest(self.select, code) > _longest(self.ignore, code)


def _prefixes(written: Iterable[str]) -> tuple[str, ...]:
    parts = (part for each in written for part in each.split(","))
    return tuple(prefix_of(part) for part in parts if part.strip())


def _longest(prefixes: tuple[str, ...], code: str) -> int:
    return max((len(each) for each in prefixes if code.startswith(each)), default=0)


# ------------------------------------------------------------------------ comments


@dataclass(frozen=True)
class Comment:
    """A comment ``# typedpool: ignore[TP101]`` in a file."""

    location: Location

    # The prefixes of the codes that it suppresses; ``("TP",)`` if it names no codes.
    prefixes: tuple[str, ...]

    # The codes in it that do not exist.
    unknown: tuple[str, ...] = ()

    def suppresses(self, code: str) -> bool:
        return code != rules.UNUSED_SUPPRESSION.code and code.startswith(self.prefixes)


def comments_of(file: Path) -> list[Comment]:
    """Return every ignore comment of a Python or SQL file."""
    return list(_comments(file, text_of(file)))


@lru_cache(200)
def _comments(file: Path, source: str) -> tuple[Comment, ...]:
    if "typedpool:" not in source:
        return ()
    is_python = file.suffix in (".py", ".pyi")
    found = _in_python(source) if is_python else _in_lines(source, 1, 0)
    return tuple(_comment(file, line, column, match) for line, column, match in found)


_Matches = Iterator[tuple[int, int, "re.Match[str]"]]


def _in_python(source: str) -> _Matches:
    """Search the comments, and the SQL in string literals."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                yield from _in_lines(token.string, *token.start)
    except (tokenize.TokenError, SyntaxError):
        return


def _in_lines(text: str, first: int, column: int) -> _Matches:
    for number, line in enumerate(text.split("\n")):
        if (match := _COMMENT.search(line)) and _is_comment(text, match):
            shift = column if number == 0 else 0
            yield first + number, shift + match.start() + 1, match


def _is_comment(text: str, match: re.Match[str]) -> bool:
    """``#`` begins a comment in Python, ``--`` in SQL."""
    return (match[0][0] == "#") == text.startswith("#")


def _comment(file: Path, line: int, column: int, match: re.Match[str]) -> Comment:
    location = Location(file, line, column, len(match[0]))
    if match["codes"] is None:
        return Comment(location, (_ALL,))
    known, unknown = [], []
    for written in filter(None, map(str.strip, match["codes"].split(","))):
        try:
            known.append(prefix_of(written))
        except CannotRun:
            unknown.append(written)
    return Comment(location, tuple(known), tuple(unknown))


class Suppressions:
    """Applies the comments of a run, and finds those that suppress nothing.

    Example::

        reported = Suppressions(queries).apply(findings)
    """

    def __init__(
        self, queries: Iterable[QueryInfo], errors: Iterable[DeclarationError] = ()
    ) -> None:
        """
        :param queries: all queries that were checked. Their files are searched for comments.
        :param errors: the errors of declarations that could not be checked.
        """
        # several queries can have the same name
        self._origins: dict[str, list[Origin]] = {}
        named = [(info.name, info.origin) for info in queries]
        named += [(error.query, Origin(error.file, error.line)) for error in errors]
        for name, origin in named:
            self._origins.setdefault(name, []).append(origin)

    def apply(self, findings: Iterable[Finding]) -> list[Finding]:
        """Return the findings that no comment suppresses, and one for each unused comment.

        Call this once, with all findings, before any selection.
        """
        findings = list(findings)
        used: set[Comment] = set()
        reported = [each for each in findings if not self._is_suppressed(each, used)]
        incomplete = [
            origin
            for name in {each.query for each in findings if each.code in _INCOMPLETE}
            for origin in self._origins.get(name or "", ())
        ]
        for comment in self._all_comments(findings):
            reported += _unknown_codes(comment)
            is_incomplete = any(_contains(origin, comment.location) for origin in incomplete)
            is_checked = not is_incomplete and self._is_checked(comment)
            if comment.prefixes and comment not in used and is_checked:
                reported.append(_unused(comment))
        return reported

    def _is_suppressed(self, each: Finding, used: set[Comment]) -> bool:
        comments = [found for found in self._beside(each) if found.suppresses(each.code)]
        used.update(comments)
        return bool(comments)

    def _beside(self, each: Finding) -> Iterator[Comment]:
        """Yield the comments on the finding's line, and on the decorator's first and last line.

        In a file with named queries, also those from the line of the name to the statement.
        """
        lines = set()
        if each.location is not None and each.location.line is not None:
            lines.add((each.location.file, each.location.line))
        for origin in self._origins_of(each):
            last = last_line_of_decorator(origin.file, origin.line)
            lines |= {(origin.file, origin.line), (origin.file, last)}
            part = part_of(origin)
            if part is not None and origin.sql_file is not None:
                above = range(part.name_line, part.first.line)
                lines |= {(origin.sql_file, number) for number in above}
        for file in {file for file, _ in lines}:
            for comment in comments_of(file):
                if (file, comment.location.line) in lines:
                    yield comment

    def _origins_of(self, each: Finding) -> list[Origin]:
        """Return the origin of the finding's query, or all origins with the query's name."""
        named = self._origins.get(each.query or "", [])
        if each.location is None:
            return named
        return [origin for origin in named if _contains(origin, each.location)] or named

    def _is_checked(self, comment: Comment) -> bool:
        """Return False if the comment is in a file with named queries, but in no checked one."""
        everywhere = [each for origins in self._origins.values() for each in origins]
        named = [each for each in everywhere if each.sql_name is not None]
        file = comment.location.file
        return all(each.sql_file != file for each in named) or any(
            _contains(each, comment.location) for each in everywhere
        )

    def _all_comments(self, findings: list[Finding]) -> Iterator[Comment]:
        files = {each.location.file for each in findings if each.location is not None}
        for origins in self._origins.values():
            for origin in origins:
                files |= {origin.file, origin.sql_file or origin.file}
        for file in sorted(files):
            yield from comments_of(file)


def _contains(origin: Origin, location: Location) -> bool:
    if location.file == origin.sql_file:
        part = part_of(origin)
        line = location.line or 0
        return origin.sql_name is None or (
            part is not None and part.name_line <= line <= part.last_line
        )
    last = last_line_of_decorator(origin.file, origin.line)
    return location.file == origin.file and origin.line <= (location.line or 0) <= last


def _unknown_codes(comment: Comment) -> Iterator[Finding]:
    for written in comment.unknown:
        message = unknown_code(written)
        yield finding(rules.UNUSED_SUPPRESSION, message, comment.location, subject=written)


def _unused(comment: Comment) -> Finding:
    codes = ", ".join(comment.prefixes)
    named = "" if comment.prefixes == (_ALL,) else f" {codes}"
    return finding(
        rules.UNUSED_SUPPRESSION,
        f"the comment suppresses nothing: there is no finding{named} here",
        comment.location,
        hint="remove the comment",
        subject=codes,
    )
