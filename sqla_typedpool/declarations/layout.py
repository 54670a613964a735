"""Lay out code in lines of at most 88 characters, as `ruff format` does."""

from __future__ import annotations

from collections.abc import Sequence

from sqla_typedpool.declarations.literals import INDENT, LINE_LENGTH

_OPENING, _CLOSING = "([{", ")]}"


def annotated(indent: str, head: str, annotation: str, tail: str = "") -> list[str]:
    """Return the lines of ``head`` and a type, such as ``name: int``.

    :param tail: what follows the type in its last line.
    """
    line = f"{indent}{head}{annotation}{tail}"
    if len(line) <= LINE_LENGTH:
        return [line]
    members, inner = split(annotation, " | "), indent + INDENT
    if len(members) > 1:
        return [f"{indent}{head}(", *_union(inner, members), f"{indent}){tail}"]
    opening = annotation.find("[")
    if opening < 0:
        return [line]
    items = split(annotation[opening + 1 : -1], ", ")
    first = f"{indent}{head}{annotation[: opening + 1]}"
    return [first, *_items(inner, items), f"{indent}]{tail}"]


def _union(indent: str, members: Sequence[str]) -> list[str]:
    line = indent + " | ".join(members)
    if len(line) <= LINE_LENGTH:
        return [line]
    return [f"{indent}{'| ' if number else ''}{each}" for number, each in enumerate(members)]


def _items(indent: str, items: Sequence[str]) -> list[str]:
    """Return the lines between brackets: one, or one for each item with a comma at its end."""
    line = indent + ", ".join(items)
    if len(line) <= LINE_LENGTH:
        return [line]
    if len(items) == 1:
        return _item(indent, items[0], "")
    return [each for item in items for each in _item(indent, item, ",")]


def _item(indent: str, item: str, tail: str) -> list[str]:
    line, members = f"{indent}{item}{tail}", split(item, " | ")
    if len(line) > LINE_LENGTH and len(members) > 1:
        return [*_union(indent, members)[:-1], _union(indent, members)[-1] + tail]
    return annotated(indent, "", item, tail)


def signature(head: str, parameters: Sequence[str], returns: str) -> list[str]:
    """Return the lines of ``async def name(parameters) -> returns:``.

    :param head: the part before the bracket.
    """
    line = f"{head}({', '.join(parameters)}) -> {returns}:"
    if len(line) <= LINE_LENGTH:
        return [line]
    one_line = INDENT + ", ".join(parameters)
    if len(parameters) > 1 and len(one_line) <= LINE_LENGTH:
        lines = [one_line]
    else:
        lines = [each for item in parameters for each in _parameter(item)]
    return [f"{head}(", *lines, *annotated("", ") -> ", returns, ":")]


def _parameter(item: str) -> list[str]:
    name, colon, annotation = item.partition(": ")
    return annotated(INDENT, f"{name}{colon}", annotation, ",")


def split(code: str, separator: str) -> list[str]:
    """Split code at a separator that is in no bracket and in no string."""
    parts, depth, quote, position = [""], 0, "", 0
    while position < len(code):
        if not depth and not quote and code.startswith(separator, position):
            parts.append("")
            position += len(separator)
            continue
        each = code[position : position + 1 + (bool(quote) and code[position] == "\\")]
        if quote or each in "'\"":
            quote = "" if each == quote else quote or each
        else:
            depth += (each in _OPENING) - (each in _CLOSING)
        parts[-1] += each
        position += len(each)
    return parts
