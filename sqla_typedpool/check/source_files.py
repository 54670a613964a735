"""Source files: their text, and the positions of the characters of string literals."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_MAX_FILES = 200  # in each cache, because a run reads each file many times


class Position(NamedTuple):
    """The position of a character in a file, counted from 1, in characters."""

    line: int
    column: int


_START = Position(1, 1)


def text_of(file: Path) -> str:
    """Return the text of a file, with ``\\n`` at the ends of its lines; "" if it is unreadable."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return ""
    return _text(file, found.st_mtime_ns, found.st_size)


@lru_cache(_MAX_FILES)
def _text(file: Path, *_version: int) -> str:
    try:
        raw = file.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        return raw.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ""


def lines_of(file: Path) -> list[str]:
    """Return the lines of a file; ``[""]`` if it is unreadable."""
    return text_of(file).split("\n")


def parsed(source: str) -> ast.Module | None:
    """Parse Python code; None if it cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # importing the file shows them
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def column_of_offset(line: str, offset: int) -> int:
    """Convert an offset in UTF-8 bytes, as `ast` reports it, to characters."""
    return len(line.encode()[:offset].decode(errors="ignore"))


def positions_of(text: str, first: Position = _START) -> list[Position]:
    """Return the position of each character of a text.

    :param first: the position of the first character.
    """
    positions, (line, column) = [], first
    for character in text:
        positions.append(Position(line, column))
        line, column = (line + 1, 1) if character == "\n" else (line, column + 1)
    return positions


def aligned(sql: str, text: str, positions: list[Position]) -> list[Position] | None:
    """Return the position of each character of some SQL in a text that differs only in spaces.

    ``dedent()``, ``strip()`` and editors change spaces. A space of the SQL gets the position of
    the next other character.

    :param positions: the position of each character of ``text``.
    :return: None if the texts differ in more than spaces.
    """
    visible = [
        position
        for character, position in zip(text, positions, strict=True)
        if not character.isspace()
    ]
    if _without_spaces(sql) != _without_spaces(text) or not visible:
        return None
    found, index = [], 0
    for character in sql:
        found.append(visible[min(index, len(visible) - 1)])
        index += not character.isspace()
    return found


def _without_spaces(text: str) -> str:
    return "".join(text.split())


# ---------------------------------------------------------------- string literals


@dataclass(frozen=True)
class _Literal:
    """A string in a Python file. It can consist of several constants that are added."""

    without_spaces: str
    nodes: tuple[ast.Constant, ...]

    @property
    def line(self) -> int:
        return self.nodes[0].lineno


def positions_in_literal(file: Path, line: int, sql: str) -> list[Position] | None:
    """Return the position of each character of some SQL in a Python file.

    :param line: the line that uses the SQL. If several literals contain this SQL, the first one
        from this line on is taken, otherwise the last one before it.
    :return: None if no literal of the file is this SQL.
    """
    wanted, source = _without_spaces(sql), text_of(file)
    found = [each for each in _literals(source) if each.without_spaces == wanted]
    if not wanted or not found:
        return None
    literal = next((each for each in found if each.line >= line), found[-1])
    lines = source.split("\n")
    characters = [each for node in literal.nodes for each in _characters(lines, node)]
    text = "".join(character for character, _ in characters)
    return aligned(sql, text, [position for _, position in characters])


@lru_cache(_MAX_FILES)
def _literals(source: str) -> list[_Literal]:
    tree = parsed(source)
    found = [
        _Literal(_without_spaces("".join(str(node.value) for node in nodes)), nodes)
        for each in (() if tree is None else ast.walk(tree))
        if (nodes := _pieces(each))
    ]
    return sorted(found, key=lambda each: each.line)


def _pieces(node: ast.AST) -> tuple[ast.Constant, ...]:
    """Return the constants that are added to form a string; () if the node is not a string."""
    if isinstance(node, ast.Constant):
        return (node,) if isinstance(node.value, str) else ()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _pieces(node.left), _pieces(node.right)
        return left + right if left and right else ()
    return ()


def _characters(lines: list[str], node: ast.Constant) -> Iterator[tuple[str, Position]]:
    """Yield the characters of a constant, which can consist of several adjacent literals."""
    begin = column_of_offset(lines[node.lineno - 1], node.col_offset)
    last = lines[(node.end_lineno or node.lineno) - 1]
    segment = lines[node.lineno - 1 : node.end_lineno]
    segment[-1] = last[: column_of_offset(last, node.end_col_offset or 0)]
    segment[0] = f"({segment[0][begin:]}"  # in parentheses, so that line ends have no meaning
    for token in tokenize.generate_tokens(io.StringIO("\n".join(segment) + "\n)").readline):
        if token.type == tokenize.STRING:
            row, column = token.start
            shift = begin - 1 if row == 1 else 0
            first = Position(row + node.lineno - 1, column + shift + 1)
            yield from _decoded(token.string, first)


_PREFIX = re.compile(r"([a-zA-Z]*)('''|\"\"\"|'|\")")
_PIECE = re.compile(
    r"\\(?:\n|[0-7]{1,3}|x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|N\{[^}]*\}|.)|.", re.DOTALL
)
_KNOWN_ESCAPES = "\n01234567xuUNabfnrtv\\'\""


def _decoded(literal: str, first: Position) -> Iterator[tuple[str, Position]]:
    """Yield the characters that a literal stands for, with the positions of their code."""
    opening = _PREFIX.match(literal)
    assert opening is not None, literal
    is_raw = "r" in opening[1].lower()
    positions = positions_of(literal, first)
    end = len(literal) - len(opening[2])
    for piece in _PIECE.finditer(literal, opening.end(), end):
        is_escape = len(piece[0]) > 1 and not is_raw and piece[0][1] in _KNOWN_ESCAPES
        value = ast.literal_eval(f"'''{piece[0]}'''") if is_escape else piece[0]
        for index, character in enumerate(value):
            yield character, positions[piece.start() + (0 if is_escape else index)]


# --------------------------------------------------------------------- decorators


def last_line_of_decorator(file: Path, line: int) -> int:
    """Return the last line of the decorator that begins on a line; the line itself if none does."""
    return _decorators(text_of(file)).get(line, line)


@lru_cache(_MAX_FILES)
def _decorators(source: str) -> dict[int, int]:
    tree = parsed(source)
    return {
        decorator.lineno: decorator.end_lineno or decorator.lineno
        for node in (() if tree is None else ast.walk(tree))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for decorator in node.decorator_list
    }
