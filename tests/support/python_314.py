"""A stand-in for Python 3.14's `annotationlib`, for tests of what its documentation says.

Annotations that are strings, as in a module with `from __future__ import annotations`, take the
part of 3.14's deferred ones: they are evaluated when they are read, all of an object together.
`pytest -p tests.support.python_314` runs tests with it.
"""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import IntEnum
from typing import Any, ForwardRef

import pytest

from sqla_typedpool.mapping import deferred

_signature = inspect.signature


class Format(IntEnum):
    """The formats of `annotationlib`."""

    VALUE = 1
    FORWARDREF = 3
    STRING = 4


class _Names(Mapping[str, Any]):
    """The names of a module; each unknown one is a `ForwardRef`."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = {**vars(builtins), **names}

    def __getitem__(self, name: str) -> Any:
        return self.names.get(name) or ForwardRef(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def get_annotations(owner: Any, *, format: Format = Format.VALUE) -> dict[str, Any]:  # noqa: A002
    """Return the annotations of a class or function in one of the formats."""
    sources = {name: _source(each) for name, each in inspect.get_annotations(owner).items()}
    if format is Format.STRING:
        return {name: str(each) for name, each in sources.items()}
    scope = _scope(inspect.unwrap(owner))
    try:
        return {name: _value(each, scope) for name, each in sources.items()}
    except Exception:
        if format is Format.VALUE:
            raise
    return {name: _forward(each, _Names(scope)) for name, each in sources.items()}


def _source(annotation: Any) -> Any:
    """A NamedTuple and a TypedDict make a `ForwardRef` of a string."""
    return getattr(annotation, "__forward_arg__", annotation)


def _value(source: Any, names: Mapping[str, Any]) -> Any:
    if not isinstance(source, str):
        return source
    return eval(source, {}, names)


def _scope(owner: Any) -> dict[str, Any]:
    module = getattr(owner, "__globals__", None) or vars(sys.modules[owner.__module__])
    return {**module, **{each.__name__: each for each in getattr(owner, "__parameters__", ())}}


def _forward(source: Any, names: Mapping[str, Any]) -> Any:
    try:
        return _value(source, names)
    except Exception:  # `module.unknown`
        return ForwardRef(source)


def signature(function: Any, *, annotation_format: Format = Format.VALUE, **options: Any) -> Any:
    """`inspect.signature` with the option of 3.14, which evaluates annotations by default."""
    if annotation_format is Format.VALUE and inspect.isfunction(function):
        get_annotations(function)
    return _signature(function, **options)


def old_and_new() -> Any:
    """A fixture that runs each test of a module twice: as it is, and with the stand-in."""

    @pytest.fixture(autouse=True, params=[nullcontext, python_314], ids=["eager", "deferred"])
    def semantics(request: pytest.FixtureRequest) -> Iterator[None]:
        with request.param():
            yield

    return semantics


@contextmanager
def python_314() -> Iterator[None]:
    """The package finds `annotationlib`, as on Python 3.14."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deferred, "_annotationlib", sys.modules[__name__])
        patched.setattr(inspect, "signature", signature)
        yield


@pytest.fixture(autouse=True)
def annotationlib() -> Iterator[None]:
    """Each test of a run with `-p tests.support.python_314`."""
    with python_314():
        yield
