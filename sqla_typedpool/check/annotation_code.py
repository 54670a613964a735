"""The source code of annotations: their parts, and the edits that change them.

Only what can be read with certainty is edited. An annotation inside a string is edited inside the
string.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Optional, Union

from sqla_typedpool.check.edits import Edit, NotFixable, SourceFile
from sqla_typedpool.check.source_files import parsed
from sqla_typedpool.mapping.annotations import is_qualifier

_STRING = re.compile(r"(\"\"\"|'''|\"|')([^\\\n\r]*)\1")
_SEPARATOR = re.compile(r"\s*[|,]\s*")
_OPTIONAL: Any = Optional
_UNION: Any = Union
_NODES = (ast.Name, ast.Attribute, ast.Subscript, ast.BinOp)


@dataclass(frozen=True, eq=False)
class AnnotationCode:
    """An annotation in a file, or a part of one."""

    source: SourceFile
    node: ast.expr

    # The variables of the module, with their values.
    names: Mapping[str, Any]

    # Whether the field or the parameter has a default value, and whether that is None.
    has_default: bool = False
    is_none_default: bool = False

    @property
    def place(self) -> tuple[Path, int, int]:
        """What distinguishes it from all others: its file, and its place there."""
        return self.source.file, *self.source.span(self.node)

    def part(self, node: ast.expr) -> AnnotationCode:
        """Return a part of it."""
        return replace(self, node=node).unquoted()

    def value(self, node: ast.expr) -> Any:
        """Return the value of a name or of an attribute; None for anything else."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, getattr(builtins, node.id, None))
        if isinstance(node, ast.Attribute):
            return getattr(self.value(node.value), node.attr, None)
        return None

    def unquoted(self) -> AnnotationCode:
        """Return the code inside a string; anything else unchanged.

        :raises NotFixable: the string has several lines, escapes or parts.
        """
        node = self.node
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            return self
        match = _STRING.fullmatch(self.source.code(node))
        tree = parsed(f"({node.value})") if match and match[2] == node.value else None
        if match is None or tree is None or not isinstance(tree.body[0], ast.Expr):
            raise NotFixable(f"the string {self.source.code(node)} is not a simple annotation")
        shift = node.col_offset + len(match[1]) - 1
        for each in ast.walk(tree.body[0].value):
            if isinstance(each, ast.expr):
                each.lineno = each.end_lineno = node.lineno
                each.col_offset += shift
                each.end_col_offset = (each.end_col_offset or 0) + shift
        return replace(self, node=tree.body[0].value)

    def origin(self) -> Any:
        """Return the value of the name, without what is in brackets; None if there is none."""
        return self.value(self.node.value if isinstance(self.node, ast.Subscript) else self.node)

    def arguments(self, *origins: Any) -> list[ast.expr]:
        """Return what is in the brackets after one of these names; [] if it is anything else."""
        node = self.node
        if not isinstance(node, ast.Subscript) or self.origin() not in origins:
            return []
        return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]

    def without_markers(self) -> AnnotationCode:
        """Return the type inside ``Annotated``, ``Required`` and the like, and inside a string."""
        code = self.unquoted()
        origin = code.origin() if isinstance(code.node, ast.Subscript) else None
        if origin is Annotated or is_qualifier(origin):
            return code.part(code.arguments(origin)[0]).without_markers()
        return code

    def operands(self) -> list[ast.expr]:
        """Return the members of a union; the node itself if it is none."""
        if isinstance(self.node, ast.BinOp) and isinstance(self.node.op, ast.BitOr):
            sides = (replace(self, node=each) for each in (self.node.left, self.node.right))
            return [each for side in sides for each in side.operands()]
        return self.arguments(_UNION) or [self.node]

    def has_none(self) -> bool:
        """Return whether ``None`` is written in it, as in ``Optional``."""
        return bool(self.arguments(_OPTIONAL)) or any(map(is_none, self.operands()))

    def without_none(self) -> AnnotationCode:
        """Return the only type that is not None, without its markers.

        :raises NotFixable: it is a union of several types.
        """
        code = self.without_markers()
        parts = code.arguments(_OPTIONAL) or code.operands()
        types = [each for each in parts if not is_none(each)]
        if len(types) != 1:
            raise NotFixable(f"{code.text} is a union of several types")
        return code if types == [code.node] else code.part(types[0]).without_none()

    @property
    def text(self) -> str:
        """The code in one line, for a message."""
        return " ".join(self.source.code(self.node).split())

    def replaced(self, text: str) -> Edit:
        """Return the edit that replaces it."""
        return Edit(*self.source.span(self.node), text)


def is_none(node: ast.expr | None) -> bool:
    """Return whether this is ``None`` in the source code."""
    return isinstance(node, ast.Constant) and node.value is None


# --------------------------------------------------------------------------- edits


def add_none(annotation: AnnotationCode) -> Edit:
    """Return the edit that adds ``| None``.

    :raises NotFixable: the code is not a type to which it can be added.
    """
    code = annotation.without_markers()
    if code.has_none():
        raise NotFixable(f"{code.text} contains None; the file has changed during the check")
    if not isinstance(code.node, _NODES):
        raise NotFixable(f"{code.text} is not a type that can be extended")
    value = code.value(code.node)
    if value is not None:
        _check_union(value, code)
    end = code.source.span(code.node)[1]
    return Edit(end, end, " | None")


def _check_union(value: Any, code: AnnotationCode) -> None:
    """Make sure that ``value | None`` can be evaluated; a string cannot, for example."""
    try:
        _ = value | None
    except TypeError as error:
        raise NotFixable(f"{code.text} | None cannot be evaluated ({error})") from error


def remove_none(annotation: AnnotationCode) -> Edit:
    """Return the edit that removes ``| None`` or ``Optional``.

    :raises NotFixable: None is not written in the annotation, or there is a comment or a
        parenthesis between it and the type.
    """
    code = annotation.without_markers()
    types = [each for each in code.operands() if not is_none(each)]
    if arguments := code.arguments(_OPTIONAL):
        return _only(code, arguments[0])
    if len(types) == len(code.operands()):
        raise NotFixable(f"None is not written there, but in what {code.text} stands for")
    if len(types) == 1 and code.arguments(_UNION):
        return _only(code, types[0])
    return _without_operand(code)


def _only(code: AnnotationCode, node: ast.expr) -> Edit:
    """Return the edit that leaves a part of an annotation only."""
    (start, end), (first, last) = code.source.span(code.node), code.source.span(node)
    text = code.source.text
    if "#" in text[start:first] + text[last:end] or "\n" in text[first:last]:
        raise NotFixable(f"{code.text} has a comment or several lines")
    return Edit(start, end, text[first:last])


def _without_operand(code: AnnotationCode) -> Edit:
    """Return the edit that removes None and the ``|`` or comma beside it."""
    spans = [code.source.span(each) for each in code.operands()]
    (index, *others) = (i for i, each in enumerate(code.operands()) if is_none(each))
    if index:
        start, end = spans[index - 1][1], spans[index][1]
        between = code.source.text[start : spans[index][0]]
    else:
        start, end = spans[0][0], spans[1][0]
        between = code.source.text[spans[0][1] : end]
    if others or not _SEPARATOR.fullmatch(between):
        raise NotFixable("there is a comment or a parenthesis beside the None")
    return Edit(start, end, "")
