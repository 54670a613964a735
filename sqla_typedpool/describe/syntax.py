"""The nodes of sqlglot's syntax trees."""

from __future__ import annotations

from typing import Any, TypeAlias

# The base class of sqlglot's nodes. Its public name differs from version to version.
SyntaxNode: TypeAlias = Any


def clauses_of(node: SyntaxNode) -> set[str]:
    """Return the names of the clauses, or arguments, that a node has."""
    return {name for name, value in node.args.items() if value not in (None, False, [], "")}
