"""The examples in the docstrings of the package: the indented blocks after `::`, and `>>>`."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from tests.project.snippets.blocks import ROOT, Block, name_of

PACKAGE = ROOT / "sqla_typedpool"
LITERAL = re.compile(r"^( *)(?:.*)::\n\n((?:\1    .*\n|\n)+)", re.MULTILINE)
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Example(NamedTuple):
    name: str
    """`sqla_typedpool/pool/pool.py:TypedPool.configured`."""
    blocks: list[Block]
    """The code; after a line of `>>>` also its output."""


def all_examples() -> list[Example]:
    return [each for file in sorted(PACKAGE.rglob("*.py")) for each in examples_of(file)]


def examples_of(file: Path) -> list[Example]:
    """Return the examples in the docstrings of a file."""
    path = name_of(file)
    found = []
    for name, line, text in docstrings(ast.parse(file.read_text()), ""):
        for number, literal in enumerate(literals(text)):
            suffix = f"#{number + 1}" if number else ""
            found.append(Example(f"{path}:{name}{suffix}", blocks_of(file, line, literal)))
    return found


def docstrings(node: Documented, name: str) -> list[tuple[str, int, str]]:
    """Return the docstrings of a node and of those inside it: name, line, text."""
    text = ast.get_docstring(node)
    line = 1 if isinstance(node, ast.Module) else node.lineno
    found = [(name, line, text)] if text else []
    for each in node.body:
        if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found += docstrings(each, f"{name}.{each.name}".lstrip("."))
    return found


def literals(text: str) -> list[str]:
    """Return the literal blocks of a docstring, and the lines of `>>>` outside of them."""
    found = [dedent(match[2].strip("\n")) for match in LITERAL.finditer(text + "\n")]
    return found or ([text] if ">>>" in text else [])


def blocks_of(file: Path, line: int, literal: str) -> list[Block]:
    if ">>>" not in literal:
        return [Block(file, line, "python", literal + "\n")]
    blocks = []
    for example in doctest.DocTestParser().get_examples(literal):
        # `>>>` prints the value of an expression.
        code = f"_show({example.source.strip()})\n" if is_expression(example.source) else ""
        blocks.append(Block(file, line, "python", code or example.source))
        if example.want:
            blocks.append(Block(file, line + blocks[-1].code.count("\n") + 2, "text", example.want))
    return blocks


def is_expression(code: str) -> bool:
    return isinstance(ast.parse(code).body[0], ast.Expr) and "print(" not in code
