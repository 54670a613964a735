"""Find SQL that is not checked: SQL text in calls, and declared SQL that is built at import.

Source files are parsed, not run. Only names that are imported from ``sqla_typedpool`` count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.rules import DYNAMIC_SQL, UNDECLARED_SQL, finding
from sqla_typedpool.check.source_files import column_of_offset, lines_of, parsed, text_of
from sqla_typedpool.queries import QueryInfo

_PACKAGE = "sqla_typedpool"
# The position of the statement among the arguments of each function.
_STATEMENT_AT = {"fetch_all": 2, "fetch_one": 2, "fetch_optional": 2, "stream": 2, "execute": 1}
_QUERY = "query"

_Constants = dict[str, ast.expr]


def undeclared_sql(files: Iterable[Path], queries: Iterable[QueryInfo] = ()) -> list[Finding]:
    """Return findings for the SQL that the check of declared queries does not cover.

    :param files: Python files. Files that cannot be read or parsed are skipped; importing them
        reports the error.
    :param queries: the declared queries, for the names in the findings.
    """
    names = {(info.origin.file, info.origin.line): info.name for info in queries}
    findings: list[Finding] = []
    for file in files:
        tree = parsed(text_of(file))
        if tree is not None:
            findings += _findings_in(file, tree, names)
    return findings


def _findings_in(
    file: Path, tree: ast.Module, names: dict[tuple[Path, int], str]
) -> Iterator[Finding]:
    functions, constants = _imported_functions(tree), _constants(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = functions.get(_dotted(node.func))
            if function in _STATEMENT_AT:
                yield from _sql_in_call(file, node, function)
            elif function == _QUERY:
                yield from _dynamic_sql(file, node, constants, names.get((file, node.lineno)))


def _imported_functions(tree: ast.Module) -> dict[str, str]:
    """Map the names that the file uses, such as ``tp.fetch_all``, to our functions."""
    known = (*_STATEMENT_AT, _QUERY)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == _PACKAGE:
            if any(each.name == "*" for each in node.names):
                names |= {name: name for name in known}
            names |= {each.asname or each.name: each.name for each in node.names}
        elif isinstance(node, ast.Import):
            for each in node.names:
                if each.name == _PACKAGE:
                    names |= {f"{each.asname or each.name}.{name}": name for name in known}
    return {local: name for local, name in names.items() if name in known}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _sql_in_call(file: Path, call: ast.Call, function: str) -> Iterator[Finding]:
    statement = _argument(call, _STATEMENT_AT[function], "statement")
    if statement is not None and _is_sql_text(statement):
        yield finding(
            UNDECLARED_SQL,
            f"the SQL in this call of {function}() is not checked",
            _location(file, statement),
            hint="declare it with @query",
        )


def _constants(tree: ast.Module) -> _Constants:
    """Return the expressions that are assigned to the module's names: ``SQL = f"..."``."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }


def _dynamic_sql(
    file: Path, call: ast.Call, constants: _Constants, query: str | None
) -> Iterator[Finding]:
    statement = _argument(call, 0, "statement")
    value = constants.get(statement.id) if isinstance(statement, ast.Name) else statement
    if statement is not None and value is not None and _is_built(value):
        yield finding(
            DYNAMIC_SQL,
            "the SQL is built when the module is imported; only the SQL of this run is checked",
            _location(file, statement),
            query=query,
            hint="write the SQL as one constant, and use parameters for the parts that vary",
        )


def _argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    if any(isinstance(each, ast.Starred) for each in call.args[: position + 1]):
        return None
    if len(call.args) > position:
        return call.args[position]
    return next((each.value for each in call.keywords if each.arg == name), None)


def _is_sql_text(node: ast.expr) -> bool:
    """Return whether it is a string, an expression that builds one, or ``text("...")``."""
    if isinstance(node, ast.Call) and _dotted(node.func).rpartition(".")[2] == "text":
        return bool(node.args) and _is_sql_text(node.args[0])
    return (isinstance(node, ast.Constant) and isinstance(node.value, str)) or _is_built(node)


def _is_built(node: ast.expr) -> bool:
    """Return whether it is an f-string with values, a sum, ``a % b``, ``format`` or ``join``."""
    if isinstance(node, ast.Call):
        method = _dotted(node.func).rpartition(".")[2]
        if isinstance(node.func, ast.Attribute) and method in ("format", "join", "replace"):
            return True
        return method == "text" and bool(node.args) and _is_built(node.args[0])
    if isinstance(node, ast.BinOp):
        is_operator = isinstance(node.op, (ast.Add, ast.Mod))
        return is_operator and not _is_constant(node) and _has_string(node)
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


def _location(file: Path, node: ast.expr) -> Location:
    line = lines_of(file)[node.lineno - 1]
    start, end = column_of_offset(line, node.col_offset), 0
    if node.end_lineno == node.lineno and node.end_col_offset is not None:
        end = column_of_offset(line, node.end_col_offset)
    return Location(file, node.lineno, start + 1, max(end - start, 1))
