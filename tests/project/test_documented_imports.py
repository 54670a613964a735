"""Every import of the package that the documentation shows works."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# `from sqla_typedpool.x import a, b` and, over several lines, `from sqla_typedpool import (a, b)`.
IMPORT = re.compile(r"\bfrom (sqla_typedpool[\w.]*) import (?:\(([^)]*)\)|([\w, ]+))")
# `sqla_typedpool.x.y` in code.
DOTTED = re.compile(r"(?<![\w/.-])sqla_typedpool(?:\.\w+)+(?![\w/]|\.\w)")


def imported_names(page: str) -> set[str]:
    """The dotted names that a page imports or mentions."""
    found = set(DOTTED.findall(page))
    for module, in_parentheses, on_the_line in IMPORT.findall(page):
        names = re.findall(r"\w+", in_parentheses or on_the_line)
        found |= {f"{module}.{name}" for name in names if name != "as"}
    return found


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return (
            module != "" and exists(module) and hasattr(importlib.import_module(module), attribute)
        )
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_import_that_a_page_shows_works(page: Path) -> None:
    assert [name for name in sorted(imported_names(page.read_text())) if not exists(name)] == []


def test_the_pages_of_all_folders_are_read() -> None:
    assert {page.parent.name for page in PAGES} >= {"docs", "guide", "reference", "internals"}
    names = {name for page in PAGES for name in imported_names(page.read_text())}
    assert {"sqla_typedpool.queries.declared", "sqla_typedpool.TypedPool"} <= names


def test_the_imports_of_a_page_are_found() -> None:
    page = """
from sqla_typedpool.queries import QueryInfo, declared
from sqla_typedpool import (
    TypedPool,
    nothing,
)
`sqla_typedpool.errors.RowValueError` in `docs/sqla_typedpool.svg`, not `[tool.sqla_typedpool]`.
"""
    names = imported_names(page)
    assert names == {
        "sqla_typedpool.queries.QueryInfo",
        "sqla_typedpool.queries.declared",
        "sqla_typedpool.TypedPool",
        "sqla_typedpool.nothing",
        "sqla_typedpool.queries",
        "sqla_typedpool.errors.RowValueError",
    }
    assert [name for name in sorted(names) if not exists(name)] == ["sqla_typedpool.nothing"]
