"""Edits of exact parts of a Python file. Everything else stays as it is, byte for byte."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from sqla_typedpool.check.source_files import column_of_offset, parsed

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # a line of Python's parser, with its end


class NotFixable(Exception):
    """An annotation cannot be corrected by an edit. The message gives the reason."""


@dataclass(frozen=True, order=True)
class Edit:
    """The replacement of a part of a file by another text."""

    # Offsets in ``SourceFile.text``, in characters.
    start: int
    end: int

    text: str


@dataclass(frozen=True, eq=False)
class SourceFile:
    """The text of a Python file, with its line ends, and its syntax tree."""

    file: Path

    # What the file contained when it was read.
    raw: bytes

    encoding: str
    text: str
    tree: ast.Module = field(repr=False)

    # The lines with their ends; the offset of each line in the text.
    lines: tuple[str, ...] = field(repr=False)
    starts: tuple[int, ...] = field(repr=False)

    def span(self, node: ast.expr | ast.stmt | ast.alias) -> tuple[int, int]:
        """Return the offset of a node's first character, and of the one after its last."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self._offset(node.lineno, node.col_offset), self._offset(end_line, end_column)

    def _offset(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column_of_offset(self.lines[line - 1], column)

    def code(self, node: ast.expr) -> str:
        """Return the source code of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    @property
    def line_end(self) -> str:
        """The characters at the end of the first line."""
        first = self.lines[0] if self.lines else ""
        return first[len(first.rstrip("\r\n")) :] or "\n"

    def moved(self, line: int, column: int, edits: Iterable[Edit]) -> tuple[int, int]:
        """Return where a character of the text is after some edits, which do not replace it.

        :param line: from 1.
        :param column: from 1, in characters.
        """
        offset = self.starts[min(line, len(self.starts)) - 1] + column - 1
        before = _applied(self.text[:offset], (each for each in edits if each.end <= offset))
        lines = _LINE.findall(before) or [""]
        if lines[-1].endswith(("\n", "\r")):
            lines.append("")
        return len(lines), len(lines[-1]) + 1

    def edited(self, edits: Iterable[Edit]) -> str:
        """Return the text with all edits.

        :raises NotFixable: the result is no Python code.
        """
        text = _applied(self.text, edits)
        if parsed(text) is None:
            raise NotFixable("the result would be no Python code")
        return text


def _applied(text: str, edits: Iterable[Edit]) -> str:
    for edit in sorted(set(edits), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def read_source(file: Path) -> SourceFile:
    """Read and parse a Python file.

    :raises NotFixable: it cannot be read or parsed, or decoding it is not reversible.
    """
    try:
        raw = file.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        text = raw.decode(encoding)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise NotFixable(f"{file.name} cannot be read: {error}") from error
    tree = parsed(text)
    if tree is None or text.encode(encoding) != raw:
        raise NotFixable(f"{file.name} cannot be parsed")
    lines = tuple(_LINE.findall(text))
    starts = tuple(accumulate(map(len, lines), initial=0))
    return SourceFile(file, raw, encoding, text, tree, lines, starts)
