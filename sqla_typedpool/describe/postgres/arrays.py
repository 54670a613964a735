"""Whether an element of an array may be NULL."""

from __future__ import annotations

import struct
from typing import Any

from sqla_typedpool.describe.nullability import CONSTANT, Nullability, never, strict, unknown
from sqla_typedpool.describe.postgres import builtins
from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.nodes import Datum, Node, type_oid
from sqla_typedpool.describe.postgres.scope import Scope

_MAY_CONTAIN_NULL = unknown("the array may contain NULL")
_NO_NULL = "no element is NULL"


def elements(array: Any, scope: Scope) -> Nullability:
    """Infer an element of an array, of whatever dimension."""
    if array.kind == "ARRAYEXPR":
        parts = array.nodes("elements")
        if array.flag("multidims"):
            return strict([elements(each, scope) for each in parts], _NO_NULL)
        return strict(scope.infer_all(parts), _NO_NULL)
    if array.kind == "RELABELTYPE":
        return elements(array.arg, scope)
    if array.kind == "ARRAYCOERCEEXPR":
        return elements(array.arg, scope) if _keeps_not_null(array, scope) else _MAY_CONTAIN_NULL
    if array.kind == "PARAM" and array.paramkind == pg.ParamKind.EXTERNAL:
        return _of_parameter(array, scope)
    if array.kind == "CONST" and isinstance(array.constvalue, Datum):
        # ArrayType, utils/array.h: size, number of dimensions, offset of the data (0 = no NULLs)
        size, _, offset = struct.unpack_from("<iii", array.constvalue.ljust(12, b"\xff"))
        if size == len(array.constvalue) << 2 and offset == 0:
            return CONSTANT
    return _MAY_CONTAIN_NULL


def _keeps_not_null(cast: Node, scope: Scope) -> bool:
    """Return whether the cast of each element is never NULL if the element is not."""
    function = cast.elemexpr
    if function is None or function.kind != "FUNCEXPR":
        return True
    called = scope.function(function.number("funcid"))
    return called is not None and builtins.cast_keeps_not_null(called, type_oid(function))


def _of_parameter(array: Node, scope: Scope) -> Nullability:
    names, number = scope.inference.parameters, int(array.paramid)
    name = names[number - 1] if number <= len(names) else str(number)
    if f"{name}[]" in scope.inference.never_null:
        return never(f"no element of parameter {name} is None")
    return unknown(f"an element of parameter {name} may be None")
