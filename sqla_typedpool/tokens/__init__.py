"""Split SQL into tokens, to find its binds and the positions of its parts. There is no parser.

No function raises an error for any text. A string or comment without an end extends to the end of
the text. A part whose position cannot be determined is left out.
"""

from __future__ import annotations

from sqla_typedpool.tokens.lists import ListBind, list_binds
from sqla_typedpool.tokens.named import NamedQuery, hidden_name_line, key_of, named_queries
from sqla_typedpool.tokens.outputs import has_returning, output_items, stars, statement_keyword
from sqla_typedpool.tokens.reading import (
    Token,
    TokenKind,
    binds,
    hidden_binds,
    second_statement,
    tokens,
)
from sqla_typedpool.tokens.writes import (
    InsertTarget,
    WrittenValue,
    insert_targets,
    writes_rows,
    written_values,
)

__all__ = [
    "InsertTarget",
    "ListBind",
    "NamedQuery",
    "Token",
    "TokenKind",
    "WrittenValue",
    "binds",
    "has_returning",
    "hidden_binds",
    "hidden_name_line",
    "insert_targets",
    "key_of",
    "list_binds",
    "named_queries",
    "output_items",
    "second_statement",
    "stars",
    "statement_keyword",
    "tokens",
    "writes_rows",
    "written_values",
]
