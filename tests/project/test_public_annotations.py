"""The annotations of all public names can be evaluated, as documentation tools do."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest

MODULES = (
    "sqla_typedpool",
    "sqla_typedpool.check",
    "sqla_typedpool.ephemeral",
    "sqla_typedpool.pytest_plugin",
    *(f"sqla_typedpool.integrations.{name}" for name in ("asgi", "fastapi", "litestar")),
    *(f"sqla_typedpool.integrations.{name}" for name in ("opentelemetry", "prometheus")),
    "sqla_typedpool.integrations.starlette",
)


def public_names(module: str) -> Iterator[tuple[str, Any]]:
    """The classes and functions of a module that have no underscore, by their names."""
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"no {error.name} here")
    for name in getattr(found, "__all__", vars(found)):
        value = vars(found)[name]
        is_own = str(getattr(value, "__module__", "")).startswith("sqla_typedpool")
        is_code = inspect.isclass(value) or inspect.isfunction(value)
        if is_own and is_code and not name.startswith("_"):
            yield name, value


def functions_of(value: Any) -> Iterator[Any]:
    """The function, or the public methods of the class and of its base classes here."""
    if inspect.isfunction(value):
        yield value
        return
    for cls in value.__mro__:
        if not cls.__module__.startswith("sqla_typedpool"):
            continue
        for name, member in vars(cls).items():
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
                yield function


@pytest.mark.parametrize("module", MODULES)
def test_the_annotations_of_every_public_function_can_be_evaluated(module: str) -> None:
    checked = 0
    for _, value in public_names(module):
        for function in functions_of(value):
            typing.get_type_hints(function, include_extras=True)
            inspect.signature(function, eval_str=True)
            checked += 1
    assert checked


@pytest.mark.parametrize("module", MODULES)
def test_the_annotations_of_every_public_class_can_be_evaluated(module: str) -> None:
    for _, value in public_names(module):
        if inspect.isclass(value):
            # not those of base classes: some of SQLAlchemy's cannot be evaluated
            inspect.get_annotations(value, eval_str=True)


def test_sqlalchemy_always_requires_typing_extensions() -> None:
    assert "typing-extensions>=4.6.0" in (metadata.requires("sqlalchemy") or [])
