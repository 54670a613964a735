"""The number of code lines, and the sizes of functions.

`python -m tests.support.code_size sqla_typedpool/pool [more paths]` prints them for each path.

A code line contains something other than a comment or a docstring. The size of a function is the
number of lines from `def` to its end, with blank lines and comments, without its docstring and
decorators.
"""

from __future__ import annotations

import ast
import io
import math
import statistics
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


@dataclass(frozen=True)
class FunctionSize:
    """One function and its size in lines."""

    file: Path
    line: int
    name: str
    lines: int

    def __str__(self) -> str:
        return f"{self.lines:4} lines  {self.file}:{self.line} {self.name}"


def python_files(paths: Sequence[Path]) -> list[Path]:
    """Return the Python files among these files and in these folders."""
    found = {file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))}
    return sorted(found)


def code_lines(source: str) -> int:
    """Count the code lines of a source."""
    docstrings = {
        (docstring.lineno, docstring.col_offset)
        for node in ast.walk(ast.parse(source))
        if (docstring := _docstring_of(node)) is not None
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE and token.start not in docstrings:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def function_sizes(file: Path) -> Iterator[FunctionSize]:
    """Yield the functions and methods of a file, including those inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield FunctionSize(file, node.lineno, node.name, _lines(node) - _docstring_lines(node))


def _docstring_of(node: ast.AST) -> ast.Expr | None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str())) as docstring, *_]:
            return docstring
    return None


def _docstring_lines(node: ast.AST) -> int:
    docstring = _docstring_of(node)
    return _lines(docstring) if docstring else 0


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def nine_in_ten(sizes: Sequence[int]) -> int:
    """Return the size that at least 90 % of the functions do not exceed."""
    return sorted(sizes)[math.ceil(0.9 * len(sizes)) - 1]


def report(path: Path) -> str:
    """Return the figures of one file or folder."""
    files = python_files([path])
    functions = [size for file in files for size in function_sizes(file)]
    title = f"{path}: {sum(code_lines(file.read_text()) for file in files)} code lines"
    title += f" in {len(files)} files, {len(functions)} functions"
    if not functions:
        return title
    sizes = [each.lines for each in functions]
    longest = sorted(functions, key=lambda each: -each.lines)[:5]
    return "\n".join(
        [
            f"{title}, median {statistics.median(sizes):g} lines, p90 {nine_in_ten(sizes)} lines",
            *map(str, longest),
        ]
    )


def main(paths: Sequence[str]) -> int:
    """Print the figures of each path."""
    if not paths or not all(Path(path).exists() for path in paths):
        sys.stderr.write("usage: python -m tests.support.code_size PATH...\n")
        return 2
    sys.stdout.writelines(f"{report(Path(path))}\n" for path in paths)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
