"""Statements that nobody checks: SQL given to a call in place, and declared SQL that varies.

The source is read, not run. Only what is certainly ours is looked at: names imported from
``sqla_typedpool``.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.rules import finding
from sqla_typedpool.check.source_files import lines_of
from sqla_typedpool.queries import QueryInfo

PACKAGE = "sqla_typedpool"
# Where each function takes its statement.
_STATEMENT_AT = {"fetch_all": 2, "fetch_one": 2, "fetch_optional": 2, "stream": 2, "execute": 1}


def unchecked(files: Iterable[Path], queries: Iterable[QueryInfo] = ()) -> list[Finding]:
    """What the check of declared queries does not see.

    :param files: Python files; those that cannot be read are left to the import.
    :param queries: whose names are told where their SQL varies.
    """
    named = {(info.origin.file, info.origin.line): info.name for info in queries}
    found: list[Finding] = []
    for file in files:
        tree = _parsed(file)
        if tree is not None:
            found += _of_file(file, tree, named)
    return found


def _parsed(file: Path) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes: the import has told them
            return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _of_file(file: Path, tree: ast.Module, named: dict[tuple[Path, int], str]) -> Iterator[Finding]:
    ours, constants = _names_of_ours(tree), _constants(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = ours.get(_dotted(node.func))
            if function in _STATEMENT_AT:
                yield from _in_place(file, node, function)
            elif function == "query":
                yield from _varying(file, node, constants, named.get((file, node.lineno)))


def _names_of_ours(tree: ast.Module) -> dict[str, str]:
    """What the file calls our functions: ``fetch_all``, ``tp.fetch_all``."""
    known = (*_STATEMENT_AT, "query")
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            if any(each.name == "*" for each in node.names):
                names |= {name: name for name in known}
            names |= {each.asname or each.name: each.name for each in node.names}
        elif isinstance(node, ast.Import):
            for each in node.names:
                if each.name == PACKAGE:
                    names |= {f"{each.asname or each.name}.{name}": name for name in known}
    return {local: name for local, name in names.items() if name in known}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _in_place(file: Path, call: ast.Call, function: str) -> Iterator[Finding]:
    statement = _argument(call, _STATEMENT_AT[function], "statement")
    if statement is not None and _is_text(statement):
        yield finding(
            "TP002",
            f"the SQL given to {function}() here is not checked",
            _place(file, statement),
            hint="declare it with @query",
        )


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """What the module's own names are given: ``SQL = f"..."``."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }


def _varying(
    file: Path, call: ast.Call, constants: dict[str, ast.expr], query: str | None
) -> Iterator[Finding]:
    statement = _argument(call, 0, "statement")
    meant = constants.get(statement.id) if isinstance(statement, ast.Name) else statement
    if statement is not None and meant is not None and _is_made(meant):
        yield finding(
            "TP003",
            "the SQL is put together when the module is imported: only the text of this run "
            "was checked",
            _place(file, statement),
            query=query,
            hint="write it as one constant, with parameters for what varies",
        )


def _argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    if any(isinstance(each, ast.Starred) for each in call.args[: position + 1]):
        return None
    if len(call.args) > position:
        return call.args[position]
    return next((each.value for each in call.keywords if each.arg == name), None)


def _is_text(node: ast.expr) -> bool:
    """SQL written out: a string, whole or in parts, or ``text("...")``."""
    if isinstance(node, ast.Call) and _dotted(node.func).rpartition(".")[2] == "text":
        return bool(node.args) and _is_text(node.args[0])
    return (isinstance(node, ast.Constant) and isinstance(node.value, str)) or _is_made(node)


def _is_made(node: ast.expr) -> bool:
    """An f-string with something in it, ``a + b``, ``a % b``, ``"...".format()``, ``join``."""
    if isinstance(node, ast.Call):
        method = _dotted(node.func).rpartition(".")[2]
        if isinstance(node.func, ast.Attribute) and method in ("format", "join", "replace"):
            return True
        return method == "text" and bool(node.args) and _is_made(node.args[0])
    if isinstance(node, ast.BinOp):
        constants = isinstance(node.op, ast.Add) and all(
            _is_constant(side) for side in (node.left, node.right)
        )
        return isinstance(node.op, (ast.Add, ast.Mod)) and not constants and _has_string(node)
    return isinstance(node, ast.JoinedStr) and any(
        isinstance(part, ast.FormattedValue) for part in node.values
    )


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _is_constant(node.left) and _is_constant(node.right)
    return isinstance(node, ast.Constant)


def _has_string(node: ast.AST) -> bool:
    return any(
        isinstance(each, ast.Constant) and isinstance(each.value, str) for each in ast.walk(node)
    )


def _place(file: Path, node: ast.expr) -> Location:
    line = lines_of(file)[node.lineno - 1].encode()
    column = len(line[: node.col_offset].decode(errors="replace"))  # ast counts bytes
    end = node.end_col_offset if node.end_lineno == node.lineno else None
    length = len(line[node.col_offset : end].decode(errors="replace")) if end else 1
    return Location(file, node.lineno, column + 1, max(length, 1))
