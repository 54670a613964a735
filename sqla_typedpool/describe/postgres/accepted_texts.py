"""The only texts that a CHECK constraint accepts, if it is of the form ``column IN ('a', 'b')``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqla_typedpool.describe.postgres.catalog import BUILT_IN
from sqla_typedpool.describe.postgres.nodes import Datum, Node, parse_nodes

_TEXT_EQUAL = 98  # the OID of text = text
_NO_TEXTS: tuple[str, ...] = ()
_HEADER = 4  # bytes of the length of a text


def accepted_texts(checks: Iterable[str]) -> tuple[str, ...]:
    """Return the texts that the first constraint of this form accepts; () = not limited.

    :param checks: the trees of the constraints on one column or domain.
    """
    found = (_of_check(parse_nodes(each)) for each in checks)
    return next(filter(None, found), _NO_TEXTS)


def _of_check(check: Any) -> tuple[str, ...]:
    is_comparison = isinstance(check, Node) and check.kind == "SCALARARRAYOPEXPR"
    if not is_comparison or not check.flag("useOr") or check.number("opno") != _TEXT_EQUAL:
        return _NO_TEXTS
    if check.number("inputcollid") >= BUILT_IN:  # two different texts may be equal
        return _NO_TEXTS
    value, array = map(_without_casts, check.nodes("args"))
    if value.kind not in ("VAR", "COERCETODOMAINVALUE") or array.kind != "ARRAYEXPR":
        return _NO_TEXTS
    found = [_text(_without_casts(each)) for each in array.nodes("elements")]
    texts = tuple(each for each in found if each is not None)
    return texts if len(texts) == len(found) else _NO_TEXTS


def _without_casts(node: Node) -> Node:
    while node.kind in ("RELABELTYPE", "ARRAYCOERCEEXPR"):
        node = node.arg
    return node


def _text(node: Node) -> str | None:
    """Return a constant text; None if it is anything else, or not in UTF-8."""
    value = node.constvalue
    if node.kind != "CONST" or not isinstance(value, Datum):
        return None
    try:
        return value[_HEADER:].decode()
    except UnicodeDecodeError:
        return None
