"""Find the annotation of a field, a parameter or a column in the source code."""

from __future__ import annotations

import ast
import inspect
import sys
import types
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Collection,
    Iterator,
    Sequence,
)
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqla_typedpool.check.annotation_code import AnnotationCode, is_none
from sqla_typedpool.check.edits import NotFixable, SourceFile, read_source
from sqla_typedpool.check.report import shown_path
from sqla_typedpool.mapping.deferred import annotations_of, python_signature
from sqla_typedpool.mapping.introspection import library_of
from sqla_typedpool.mapping.rowtype import RowType
from sqla_typedpool.queries import Cardinality, QueryInfo

_CONTAINERS = (list, Sequence, AsyncIterator, AsyncIterable, AsyncGenerator)
_INSTALLED = ("site-packages", "dist-packages")
_Function = (ast.FunctionDef, ast.AsyncFunctionDef)
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class AnnotationPlaces:
    """The source files of a run. Each is read once, so that all edits start from the same text."""

    def __init__(self, checked: Collection[Path]) -> None:
        """
        :param checked: the files of the checked modules. Others must be below the working
            directory.
        """
        self._checked = {each.resolve() for each in checked}
        self._sources: dict[Path, SourceFile] = {}

    def of_field(self, cls: type, name: str, *, has_default: bool) -> AnnotationCode:
        """Return the annotation of a field, in the class that declares it.

        :param has_default: whether the field of ``cls`` has a default value.
        :raises NotFixable: the class, or the field, is not written with annotations, or is in a
            file that does not belong to the application.
        """
        for owner in cls.__mro__:
            if name in annotations_of(owner):
                if found := self._in_class(owner, name):
                    return replace(found, has_default=has_default)
                break
        raise NotFixable(f"{cls.__name__}.{name} is not declared by `{name}: ...` in a class")

    def _in_class(self, cls: type, name: str) -> AnnotationCode | None:
        module = sys.modules.get(cls.__module__)
        names = {} if module is None else vars(module)
        source = self._source(getattr(module, "__file__", None), cls.__qualname__)
        found = _definitions(source, cls.__qualname__)
        if len(found) > 1:
            raise NotFixable(f"there are several definitions of {cls.__qualname__}")
        if not found or not isinstance(found[0], ast.ClassDef):
            return None
        for each in reversed(found[0].body):
            if isinstance(each, ast.AnnAssign) and _name(each.target) == name:
                default = is_none(each.value)
                return AnnotationCode(source, each.annotation, names, is_none_default=default)
        # a TypedDict has the annotations of its bases, but does not inherit from them
        bases = found[0].bases if library_of(cls) == "TypedDict" else []
        origins = (AnnotationCode(source, each, names).origin() for each in bases)
        classes = [each for each in origins if isinstance(each, type)]
        owners = [each for each in classes if name in annotations_of(each)]
        return self._in_class(owners[0], name) if owners else None

    def of_parameter(self, function: Any, name: str) -> AnnotationCode:
        """Return the annotation of a function's parameter.

        :raises NotFixable: as for a field.
        """
        source, node = self._function(function)
        listed = node.args
        for each in (*listed.posonlyargs, *listed.args, *listed.kwonlyargs):
            if each.arg == name and each.annotation is not None:
                default = python_signature(function).parameters[name].default
                return AnnotationCode(
                    source,
                    each.annotation,
                    function.__globals__,
                    default is not inspect.Parameter.empty,
                    default is None,
                )
        raise NotFixable(f"the annotation of {name} is not in the source code")

    def of_column(self, info: QueryInfo, row_type: RowType, position: int) -> AnnotationCode:
        """Return the type of a column in the return annotation of a query.

        :param row_type: the query's: a tuple or a single value.
        :raises NotFixable: as for a field, or the annotation contains the name of another one.
        """
        source, node = self._function(info.function)
        if node.returns is None:
            raise NotFixable("the return annotation is not in the source code")
        code = AnnotationCode(source, node.returns, info.function.__globals__).unquoted()
        code = _row(code, info, row_type)
        if row_type.kind != "tuple":
            return code
        parts = code.without_markers().arguments(tuple, typing.Tuple)  # noqa: UP006 - as written
        if not parts:
            raise NotFixable(f"{code.text} does not show the types of the columns")
        return code.part(parts[0 if row_type.repeats else position])

    def _function(self, function: Any) -> tuple[SourceFile, ast.FunctionDef | ast.AsyncFunctionDef]:
        code: types.CodeType = function.__code__
        source = self._source(code.co_filename, function.__qualname__)
        for node in _definitions(source, function.__qualname__):
            lines = [each.lineno for each in (*node.decorator_list, node)]
            if isinstance(node, _Function) and min(lines) == code.co_firstlineno:
                return source, node
        raise NotFixable(f"{function.__qualname__}() is not in its file, which may have changed")

    def _source(self, file: str | None, name: str) -> SourceFile:
        if file is None:
            raise NotFixable(f"{name} is in no file")
        path = Path(file).resolve()
        if path not in self._sources:
            is_own = path in self._checked or path.is_relative_to(Path.cwd())
            if not is_own or set(_INSTALLED) & set(path.parts):
                raise NotFixable(f"{name} is in {shown_path(path)}, which is not checked")
            self._sources[path] = read_source(path)
        return self._sources[path]


def _definitions(source: SourceFile, qualname: str) -> list[_Definition]:
    """Return the classes and functions with a qualified name, in the order of the file."""
    found: list[ast.AST] = [source.tree]
    for name in qualname.replace(".<locals>", "").split("."):
        found = [each for parent in found for each in _inside(parent) if each.name == name]
    return typing.cast("list[_Definition]", found)


def _name(target: ast.expr) -> str:
    return target.id if isinstance(target, ast.Name) else ""


def _inside(parent: ast.AST) -> Iterator[_Definition]:
    """Yield the definitions in a block, and in its ``if``, ``try`` and ``with`` statements."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, (ast.ClassDef, *_Function)):
            yield node
        elif isinstance(node, (ast.stmt, ast.ExceptHandler)):
            yield from _inside(node)


# ------------------------------------------------------------- return annotations


def _row(code: AnnotationCode, info: QueryInfo, row_type: RowType) -> AnnotationCode:
    """Return the type of the rows in a return annotation."""
    if info.cardinality in (Cardinality.ALL, Cardinality.STREAM):
        origin = code.origin()
        is_container = (typing.get_origin(origin) or origin) in _CONTAINERS
        if not is_container or typing.get_args(origin):  # list[...] with a name of its own
            raise NotFixable(f"{code.text} does not show the type of the rows")
        return code.part(code.arguments(origin)[0])
    if info.cardinality is Cardinality.OPTIONAL and row_type.kind == "tuple":
        return code.without_none()
    return code
