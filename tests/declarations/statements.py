"""The statements and tables for which the tests write code."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent

# What the bookshop of examples/ has no example of.
SCHEMA = (_FOLDER / "odd_schema.sql").read_text(encoding="utf-8")

# Over the bookshop, PostgreSQL's catalogs and the tables of SCHEMA. The first part is a comment.
STATEMENTS: tuple[str, ...] = tuple(
    (_FOLDER / "statements.sql").read_text(encoding="utf-8").split("\n---\n")[1:]
)
