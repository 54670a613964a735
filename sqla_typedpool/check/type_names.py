"""The names of types in a Python file, and the imports that they need."""

from __future__ import annotations

import ast
import builtins
import sys
import typing
from collections.abc import Iterator
from typing import Any

from sqla_typedpool.check.annotation_code import AnnotationCode
from sqla_typedpool.check.edits import Edit, NotFixable, SourceFile


def name_of_type(annotation: Any, code: AnnotationCode) -> tuple[str, set[type]]:
    """Return a type as it is written in the file of an annotation, and the types to import there.

    :param annotation: a class of the standard library, or a list of one: ``list[int]``.
    :raises NotFixable: the name may have another meaning in the file.
    """
    if typing.get_origin(annotation) is list:
        (element,) = typing.get_args(annotation)
        text, imports = name_of_type(element, code)
        return f"{name_of_type(list, code)[0]}[{text}]", imports
    name, hidden = annotation.__name__, _hidden_names(code, annotation)
    names = {each: value for each, value in code.names.items() if each not in hidden}
    if names.get(name, getattr(builtins, name, None)) is annotation and name not in hidden:
        return name, set()
    module = sys.modules[annotation.__module__]
    for each, value in names.items():
        if value is annotation or value is module:
            return (each if value is annotation else f"{each}.{name}"), set()
    if name in code.names or name in hidden or hasattr(builtins, name):
        raise NotFixable(f"{name} may have another meaning in {code.source.file.name}")
    return name, {annotation}


def _hidden_names(code: AnnotationCode, annotation: type) -> set[str]:
    """Return the names that may have another meaning in an annotation than in its module.

    - Those that classes and functions define, apart from parameters, such as a field ``date``.
    - Those that the module defines below the annotation only.
    - Those that are imported for type checkers, from elsewhere than the type.
    """
    statements = list(ast.walk(code.source.tree))
    blocks = [each for each in statements if isinstance(each, _BLOCKS)]
    hidden = {name for block in blocks for each in block.body for name in _defined(each)}
    top = [(each.lineno, name) for each in code.source.tree.body for name in _defined(each)]
    hidden |= {name for _, name in top} - {name for at, name in top if at < code.node.lineno}
    for each in statements:
        if isinstance(each, ast.ImportFrom) and each.module != annotation.__module__:
            imported = {alias.asname or alias.name for alias in each.names}
            hidden |= imported - code.names.keys()
    return hidden


_BLOCKS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _defined(statement: ast.stmt) -> Iterator[str]:
    for each in ast.walk(statement):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id
        elif isinstance(each, ast.alias):
            yield (each.asname or each.name).partition(".")[0]
        elif isinstance(each, _BLOCKS):
            yield each.name


# ------------------------------------------------------------------------- imports


def import_edits(source: SourceFile, needed: set[type]) -> list[Edit]:
    """Return the edits that import types.

    A name is added to the ``from`` import of its module, or else a line is added: before the next
    module in alphabetical order, or after the last one, of the standard library.

    :raises NotFixable: the file has no import at its top level.
    """
    by_module: dict[str, list[str]] = {}
    for each in sorted(needed, key=lambda each: (each.__module__, each.__name__)):
        by_module.setdefault(each.__module__, []).append(each.__name__)
    return [edit for module, names in by_module.items() for edit in _import(source, module, names)]


def _import(source: SourceFile, module: str, names: list[str]) -> Iterator[Edit]:
    for each in _first_imports(source):
        if isinstance(each, ast.ImportFrom) and (each.module, each.level) == (module, 0):
            yield from (_into(source, each, name) for name in names)
            return
    yield _new_line(source, module, names)


def _into(source: SourceFile, statement: ast.ImportFrom, name: str) -> Edit:
    """Return the edit that adds a name to a ``from`` import."""
    for each in statement.names:
        if each.name > name:
            start = source.span(each)[0]
            return Edit(start, start, f"{name}, ")
    end = source.span(statement.names[-1])[1]
    return Edit(end, end, f", {name}")


def _new_line(source: SourceFile, module: str, names: list[str]) -> Edit:
    line = f"from {module} import {', '.join(names)}{source.line_end}"
    imports = _first_imports(source)
    if not imports or imports[0].col_offset:
        raise NotFixable(f"there is no line in {source.file.name} beside which {line.strip()} fits")
    standard = [each for each in imports if _module(each) in sys.stdlib_module_names]
    froms = [each for each in standard if isinstance(each, ast.ImportFrom)]
    later = [each for each in froms if (each.module or "") > module]
    if later:
        start = source.starts[later[0].lineno - 1]
    elif standard:
        start = source.starts[standard[-1].end_lineno or standard[-1].lineno]
    else:
        start, line = source.starts[imports[0].lineno - 1], line + source.line_end
    return Edit(start, start, line)


def _first_imports(source: SourceFile) -> list[ast.Import | ast.ImportFrom]:
    """Return the imports before all other code, without those of ``__future__``."""
    statements = source.tree.body[ast.get_docstring(source.tree, clean=False) is not None :]
    found: list[ast.Import | ast.ImportFrom] = []
    for each in statements:
        if not isinstance(each, (ast.Import, ast.ImportFrom)):
            break
        if _module(each) != "__future__":
            found.append(each)
    return found


def _module(statement: ast.Import | ast.ImportFrom) -> str:
    """Return the top-level package that a statement imports; "" for a relative import."""
    if isinstance(statement, ast.ImportFrom):
        return "" if statement.level else (statement.module or "").partition(".")[0]
    return statement.names[0].name.partition(".")[0]
