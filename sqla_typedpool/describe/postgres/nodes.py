"""PostgreSQL's text of a node tree (``pg_node_tree``), parsed into Python objects.

The format is the same in all versions, except for the names of some nodes: ``{TYPE :field value
:field value}``, lists in parentheses, ``<>`` for NULL, and tokens whose special characters are
escaped by a backslash. Fields are read by name, so fields that a version adds or removes do no
harm. Positions in the SQL text (``location``) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r"[(){}]|(?:\\.|[^ \n\t(){}\\])+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# The first token of a list of integers, of OIDs or of transaction IDs, or of a bitmap set.
_LIST_KINDS = frozenset({"i", "o", "x", "b"})
# Name of a node in PostgreSQL 14 -> its name in 15 and later, which is used here.
_RENAMED = {
    name: f"{name}EXPR" for name in ("ARRAY", "CASE", "COALESCE", "COLLATE", "MINMAX", "ROW")
}
_POSITIONS = frozenset({"location", "stmt_location", "stmt_len", "list_start", "list_end"})
# nodes/nodes.h, CmdType: SELECT, UPDATE, INSERT, DELETE, MERGE; not utility statements
_COMMANDS = frozenset("12345")
_TYPE_FIELDS = (
    "vartype", "consttype", "paramtype", "funcresulttype", "opresulttype", "resulttype",
    "casetype", "coalescetype", "minmaxtype", "aggtype", "wintype", "array_typeid", "row_typeid",
)  # fmt: skip


@dataclass(slots=True)
class Node:
    """One node. Its fields are attributes too; a field that it does not have is None.

    A value is a string (numbers and booleans too), None, a list, a node, or a `Datum`.
    """

    # The type's name: ``VAR``.
    kind: str
    fields: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.fields.get(name)

    def number(self, name: str) -> int:
        """Return a field as a number; 0 if the node does not have it."""
        value = self.fields.get(name)
        return int(value) if isinstance(value, str) else 0

    def flag(self, name: str) -> bool:
        """Return a field as a boolean; False if the node does not have it."""
        return self.fields.get(name) == "true"

    def nodes(self, name: str) -> list[Any]:
        """Return a field as a list; an empty one if the node does not have it."""
        value = self.fields.get(name)
        return value if isinstance(value, list) else []


class Datum(bytes):
    """The bytes of a constant, as they are in the server's memory."""


def type_oid(node: Node) -> int:
    """Return the OID of an expression's type; 0 if it is unknown."""
    return next((node.number(name) for name in _TYPE_FIELDS if node.fields.get(name)), 0)


def only_query(text: str | None) -> Node | None:
    """Return the tree of the only statement, which may be inside lists.

    :return: None if it is a utility statement, or there is no text.
    :raises ValueError: it is not the text of a tree, or not of one statement.
    """
    tree = parse_nodes(text or "<>")
    while isinstance(tree, list):
        if len(tree) != 1:
            raise ValueError(f"the server's analysis has {len(tree)} statements and not one")
        (tree,) = tree
    return tree if isinstance(tree, Node) and tree.commandType in _COMMANDS else None


def nodes_in(tree: object, *, subqueries: bool = True) -> Iterator[Node]:
    """Yield every node of a tree, or of a list of trees.

    :param subqueries: False leaves out queries and what is inside them.
    """
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, Node) and (subqueries or value.kind != "QUERY"):
            waiting.extend(value.fields.values())
            yield value


def parse_nodes(text: str) -> Any:
    """Parse the text of a node, of a list of nodes, or ``<>``.

    :raises ValueError: the text is not a node tree, or is nested too deeply.
    """
    tokens = _TOKEN.findall(text)
    try:
        value, end = _value(tokens, 0)
    except IndexError as error:
        raise ValueError(f"not a node tree: {text[:60]!r}") from error
    except RecursionError as error:
        raise ValueError("the statement is nested too deeply to be analysed") from error
    if end != len(tokens):
        raise ValueError(f"more than one node tree: {text[:60]!r}")
    return value


# Each function below takes the index of a value's first token, and returns the value and the
# index after its last token.


def _value(tokens: list[str], at: int) -> tuple[Any, int]:
    token = tokens[at]
    if token == "{":
        return _node(tokens, at + 1)
    if token == "(":
        return _list(tokens, at + 1)
    if token in (")", "}"):
        raise ValueError(f"not a node tree: {token!r} instead of a value")
    if at + 1 < len(tokens) and tokens[at + 1] == "[" and token.isdecimal():
        end = tokens.index("]", at)
        return Datum(int(each) & 0xFF for each in tokens[at + 2 : end]), end + 1
    return _scalar(token), at + 1


def _node(tokens: list[str], at: int) -> tuple[Node, int]:
    kind = _RENAMED.get(tokens[at], tokens[at])
    at += 1
    fields: dict[str, Any] = {}
    while tokens[at] != "}":
        name = tokens[at]
        if name[0] != ":":
            raise ValueError(f"not a node tree: {name!r} instead of a field of {kind}")
        value, at = _value(tokens, at + 1)
        if name[1:] not in _POSITIONS:
            fields[name[1:]] = value
    return Node(kind, fields), at + 1


def _list(tokens: list[str], at: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    if tokens[at] in _LIST_KINDS:
        at += 1
    while tokens[at] != ")":
        value, at = _value(tokens, at)
        values.append(value)
    return values, at + 1


def _scalar(token: str) -> str | None:
    if token == "<>":
        return None
    if token[0] == '"' and token[-1] == '"' and len(token) > 1:  # a String node, or ""
        token = token[1:-1]
    return _ESCAPED.sub(r"\1", token) if "\\" in token else token
