"""PostgreSQL's text of a node tree (``pg_node_tree``), read into Python.

The form is the same in all versions, but for some types' names: ``{TYPE :field value
:field value}``, lists in parentheses, ``<>`` for nothing, and tokens whose special
characters are escaped by a backslash. Fields are read by name, so that what a version
adds or takes away does no harm. Where something stands in the SQL (``location``) is left
out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(r"[(){}]|(?:\\.|[^ \n\t(){}\\])+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NUMBERS = frozenset({"i", "o", "x", "b"})  # lists of numbers, OIDs, transactions; a set
# Nodes that are known here by their names of PostgreSQL 15 and later; those of 14.
_RENAMED = {
    "ARRAY": "ARRAYEXPR",
    "CASE": "CASEEXPR",
    "COALESCE": "COALESCEEXPR",
    "COLLATE": "COLLATEEXPR",
    "MINMAX": "MINMAXEXPR",
    "ROW": "ROWEXPR",
}
_PLACES = frozenset({"location", "stmt_location", "stmt_len", "list_start", "list_end"})


class Node:
    """One node: its type, and its fields as attributes; one that it does not have is None.

    Values are str (numbers and booleans too), None, lists, nodes, and `Datum` for constants.
    """

    __slots__ = ("fields", "kind")

    def __init__(self, kind: str, fields: dict[str, Any]) -> None:
        self.kind = kind
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        return self.fields.get(name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        return self.kind == other.kind and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Node({self.kind!r}, {self.fields!r})"

    def number(self, name: str) -> int:
        """A field as a number; 0 where it is not there."""
        value = self.fields.get(name)
        return int(value) if isinstance(value, str) else 0

    def flag(self, name: str) -> bool:
        """A field as a boolean; False where it is not there."""
        return self.fields.get(name) == "true"

    def nodes(self, name: str) -> list[Any]:
        """A field as a list; empty where it is not there."""
        value = self.fields.get(name)
        return value if isinstance(value, list) else []


class Datum(bytes):
    """The bytes of a constant, as they are in the server's memory."""


def nodes_in(tree: object) -> Iterator[Node]:
    """Every node of a tree, or of a list of trees."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, Node):
            waiting.extend(value.fields.values())
            yield value


def parse_nodes(text: str) -> Any:
    """Read the text of a node, of a list of nodes, or ``<>``.

    :raises ValueError: it is not the text of a tree.
    """
    tokens = _TOKEN.findall(text)
    try:
        value, at = _value(tokens, 0)
    except IndexError as error:
        raise ValueError(f"not a node tree: {text[:60]!r}") from error
    except RecursionError as error:
        raise ValueError("the statement is nested too deeply to be followed") from error
    if at != len(tokens):
        raise ValueError(f"more than one node tree: {text[:60]!r}")
    return value


def _value(tokens: list[str], at: int) -> tuple[Any, int]:
    token = tokens[at]
    if token == "{":
        return _node(tokens, at + 1)
    if token == "(":
        return _list(tokens, at + 1)
    if token in (")", "}"):
        raise ValueError(f"not a node tree: {token!r} where a value is due")
    if at + 1 < len(tokens) and tokens[at + 1] == "[" and token.isdecimal():
        end = tokens.index("]", at)
        return Datum(int(each) & 0xFF for each in tokens[at + 2 : end]), end + 1
    return _plain(token), at + 1


def _node(tokens: list[str], at: int) -> tuple[Node, int]:
    kind = _RENAMED.get(tokens[at], tokens[at])
    at += 1
    fields: dict[str, Any] = {}
    while tokens[at] != "}":
        name = tokens[at]
        if name[0] != ":":
            raise ValueError(f"not a node tree: {name!r} where a field of {kind} is due")
        value, at = _value(tokens, at + 1)
        if name[1:] not in _PLACES:
            fields[name[1:]] = value
    return Node(kind, fields), at + 1


def _list(tokens: list[str], at: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    if tokens[at] in _NUMBERS:
        at += 1
    while tokens[at] != ")":
        value, at = _value(tokens, at)
        found.append(value)
    return found, at + 1


def _plain(token: str) -> str | None:
    if token == "<>":
        return None
    if token[0] == '"' and token[-1] == '"' and len(token) > 1:  # a String node, or ""
        token = token[1:-1]
    return _ESCAPED.sub(r"\1", token) if "\\" in token else token
