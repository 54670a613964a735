"""Source files: their lines, and where each character of a string literal stands in them."""

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

_FILES = 200  # kept; a run looks at each many times


class Spot(NamedTuple):
    """One character of a file."""

    line: int
    """From 1."""
    column: int
    """From 1, in characters."""


_START = Spot(1, 1)


def text_of(file: Path) -> str:
    """What a file holds, with ``\\n`` at the ends of lines; "" when it cannot be read."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return ""
    return _text(file, found.st_mtime_ns, found.st_size)


@lru_cache(_FILES)
def _text(file: Path, *_version: int) -> str:
    try:
        raw = file.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        return raw.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ""


def lines_of(file: Path) -> list[str]:
    """Its lines; [] when it cannot be read."""
    return text_of(file).split("\n")


def spots_of_text(text: str, first: Spot = _START) -> list[Spot]:
    """Where each character of a text stands."""
    spots, (line, column) = [], first
    for character in text:
        spots.append(Spot(line, column))
        line, column = (line + 1, 1) if character == "\n" else (line, column + 1)
    return spots


def aligned(sql: str, text: str, spots: list[Spot]) -> list[Spot] | None:
    """Where each character of some SQL stands, if it is this text but for its blanks.

    Blanks are what ``dedent()``, ``strip()`` and editors change. One that stands nowhere
    is where the next character is.
    """
    visible = [spot for character, spot in zip(text, spots, strict=True) if not character.isspace()]
    if squeezed(sql) != squeezed(text) or not visible:
        return None
    found, place = [], 0
    for character in sql:
        found.append(visible[min(place, len(visible) - 1)])
        place += not character.isspace()
    return found


def squeezed(text: str) -> str:
    """A text without its blanks."""
    return "".join(text.split())


# ------------------------------------------------------------- string literals


@dataclass(frozen=True)
class _Literal:
    """A string as it stands in a Python file, perhaps in several pieces."""

    squeezed: str
    nodes: tuple[ast.Constant, ...]

    @property
    def line(self) -> int:
        return self.nodes[0].lineno


def spots_of_literal(file: Path, line: int, sql: str) -> list[Spot] | None:
    """Where each character of some SQL stands in a Python file.

    :param line: where it is used: the first literal from there on is taken, else the
        last one before.
    :return: None where no literal of the file is this SQL.
    """
    wanted, source = squeezed(sql), text_of(file)
    found = [each for each in _literals(source) if each.squeezed == wanted]
    if not wanted or not found:
        return None
    literal = next((each for each in found if each.line >= line), found[-1])
    characters: list[str] = []
    spots: list[Spot] = []
    for node in literal.nodes:
        for character, spot in _characters(source.split("\n"), node):
            characters.append(character)
            spots.append(spot)
    return aligned(sql, "".join(characters), spots)


def _parsed(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes; who imports the file is told
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


@lru_cache(_FILES)
def _literals(source: str) -> list[_Literal]:
    tree = _parsed(source)
    found = [
        _Literal(squeezed("".join(str(node.value) for node in nodes)), nodes)
        for each in (() if tree is None else ast.walk(tree))
        if (nodes := _pieces(each))
    ]
    return sorted(found, key=lambda each: each.line)


def _pieces(node: ast.AST) -> tuple[ast.Constant, ...]:
    """The constants a string is added up from; () = it is none."""
    if isinstance(node, ast.Constant):
        return (node,) if isinstance(node.value, str) else ()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _pieces(node.left), _pieces(node.right)
        return left + right if left and right else ()
    return ()


def _characters(lines: list[str], node: ast.Constant) -> Iterator[tuple[str, Spot]]:
    """The characters of a constant, which may be several literals side by side."""
    begin = _column(lines[node.lineno - 1], node.col_offset)
    last = lines[(node.end_lineno or node.lineno) - 1]
    segment = lines[node.lineno - 1 : node.end_lineno]
    segment[-1] = last[: _column(last, node.end_col_offset or 0)]
    segment[0] = f"({segment[0][begin:]}"  # brackets, so that line ends mean nothing
    for token in tokenize.generate_tokens(io.StringIO("\n".join(segment) + "\n)").readline):
        if token.type == tokenize.STRING:
            row, column = token.start
            shift = begin - 1 if row == 1 else 0
            yield from _decoded(token.string, Spot(row + node.lineno - 1, column + shift + 1))


def _column(line: str, offset: int) -> int:
    """An offset in UTF-8 bytes, as ``ast`` gives it, in characters."""
    return len(line.encode()[:offset].decode(errors="ignore"))


_PREFIX = re.compile(r"([a-zA-Z]*)('''|\"\"\"|'|\")")
_PIECE = re.compile(
    r"\\(?:\n|[0-7]{1,3}|x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|N\{[^}]*\}|.)|.", re.DOTALL
)
_KNOWN_ESCAPES = "\n01234567xuUNabfnrtv\\'\""


def _decoded(literal: str, first: Spot) -> Iterator[tuple[str, Spot]]:
    """What one literal means, character by character."""
    opening = _PREFIX.match(literal)
    assert opening is not None, literal
    is_raw = "r" in opening[1].lower()
    spots = spots_of_text(literal, first)
    end = len(literal) - len(opening[2])
    for piece in _PIECE.finditer(literal, opening.end(), end):
        is_escape = len(piece[0]) > 1 and not is_raw and piece[0][1] in _KNOWN_ESCAPES
        value = ast.literal_eval(f"'''{piece[0]}'''") if is_escape else piece[0]
        for index, character in enumerate(value):
            yield character, spots[piece.start() + (0 if is_escape else index)]


# ------------------------------------------------------------------- decorators


def last_line_of_call(file: Path, line: int) -> int:
    """Where the decorator ends that begins on a line; the line itself if there is none."""
    return _decorators(text_of(file)).get(line, line)


@lru_cache(_FILES)
def _decorators(source: str) -> dict[int, int]:
    tree = _parsed(source)
    return {
        decorator.lineno: decorator.end_lineno or decorator.lineno
        for node in (() if tree is None else ast.walk(tree))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for decorator in node.decorator_list
    }
