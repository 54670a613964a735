"""The registry of declared queries, and the names of the package."""

from __future__ import annotations

import gc
import importlib
import inspect
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sqla_typedpool
from sqla_typedpool import Executor, query, query_info
from sqla_typedpool.queries import declared
from sqla_typedpool.queries.declare import collect_errors
from tests.queries.declaring import declare, fault_of, faults_of, module_with

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


def declare_faulty() -> Any:
    return declare("SELECT :a", "(db) -> int")


def test_faulty_declarations_are_collected_and_their_functions_returned_unchanged() -> None:
    with collect_errors() as errors:
        first, second = declare_faulty(), declare_faulty()
        sound = declare("SELECT 1", "(db) -> int")
    assert len(errors) == 2
    assert query_info(sound).sql == "SELECT 1"
    for function in (first, second):
        assert inspect.isfunction(function)
        with pytest.raises(TypeError, match="is not a declared query"):
            query_info(function)


def test_errors_are_collected_in_the_innermost_block_and_raised_after_the_last() -> None:
    with collect_errors() as outer:
        with collect_errors() as inner:
            declare_faulty()
        declare_faulty()
        declare_faulty()
    assert (len(outer), len(inner)) == (2, 1)
    fault_of(declare_faulty)


def test_errors_are_raised_again_after_a_block_that_fails() -> None:
    with pytest.raises(ZeroDivisionError), collect_errors():
        raise ZeroDivisionError
    fault_of(declare_faulty)


def test_errors_in_another_thread_are_raised_there() -> None:
    with collect_errors() as errors, ThreadPoolExecutor(1) as executor:
        executor.submit(fault_of, declare_faulty).result(10)
    assert errors == []


def test_the_function_query_does_not_hide_the_package_queries() -> None:
    assert callable(sqla_typedpool.query)
    assert sqla_typedpool.query is query
    assert isinstance(sqla_typedpool.queries, ModuleType)
    assert sqla_typedpool.queries.query is query
