"""The registry of declared queries, and the names of the package."""

from __future__ import annotations

import gc
import importlib
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import sqla_typedpool
from sqla_typedpool import Executor, query, query_info
from sqla_typedpool.queries import declared
from tests.queries.declaring import declare, faults_of, module_with

REGISTERED = """
    from sqla_typedpool import Executor, query

    @query("SELECT 1")
    async def first(db: Executor) -> int:
        raise NotImplementedError

    @query("SELECT 2")
    async def second(db: Executor) -> int:
        raise NotImplementedError
"""


def names_of(module: str) -> list[str]:
    return [info.name for info in declared() if info.module == module]


def test_declared_returns_queries_in_order_and_a_reload_replaces_them(folder: Path) -> None:
    module = module_with(folder, REGISTERED, "registered")
    assert names_of("registered") == ["registered.first", "registered.second"]
    before = query_info(module.first)
    importlib.reload(module)
    assert names_of("registered") == ["registered.first", "registered.second"]
    assert query_info(module.first) is not before
    assert before not in declared()


def test_declared_has_the_new_order_after_a_reload(folder: Path) -> None:
    module = module_with(folder, REGISTERED, "reordered")
    swapped = REGISTERED.replace("first", "third").replace("second", "first")
    (folder / "reordered.py").write_text(textwrap.dedent(swapped.replace("third", "second")))
    importlib.reload(module)
    assert names_of("reordered") == ["reordered.second", "reordered.first"]


def test_a_query_that_cannot_be_called_any_more_is_removed() -> None:
    def make() -> Any:
        @query("SELECT 1")
        async def passing(db: Executor) -> int:
            raise NotImplementedError

        return passing

    # A separate frame: before Python 3.13 a frame keeps the objects that its f_locals contained.
    def use() -> str:
        made, again = make(), make()
        assert names_of_all().count(query_info(made).name) == 2, "both can be called"
        return query_info(again).name

    gc.disable()  # it is removed without the collector: there is no reference cycle
    try:
        assert use() not in names_of_all()
    finally:
        gc.enable()


def names_of_all() -> list[str]:
    return [info.name for info in declared()]


def test_a_refused_declaration_is_not_registered() -> None:
    before = declared()
    faults_of(lambda: declare("SELECT :a", "(db) -> int"))
    assert declared() == before


def test_the_function_query_does_not_hide_the_package_queries() -> None:
    assert callable(sqla_typedpool.query)
    assert sqla_typedpool.query is query
    assert isinstance(sqla_typedpool.queries, ModuleType)
    assert sqla_typedpool.queries.query is query
