"""An annotation of a declared function: resolved at once, or when its names are known."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from sqla_typedpool.mapping.typespec import is_union

_NOT_YET: Any = object()


class Unresolved(Exception):
    """An annotation means nothing, or not yet; the message says why and what to do."""


class DeferredAnnotation:
    """One annotation. What it names may be defined further down the module."""

    def __init__(
        self,
        function: Any,
        name: str,
        enclosing: Mapping[str, Any],
        *,
        is_none_default: bool = False,
    ) -> None:
        """
        :param name: of the parameter, or ``"return"``.
        :param enclosing: the names of the classes and functions around the declaration.
        :param is_none_default: whether the parameter may be left out, and is None then.
        """
        self._function = function
        self._name = name
        self._value = _NOT_YET
        self.is_none_default = is_none_default
        self.fault = ""
        """Why it will never mean anything, or ""."""
        try:
            self._value = _evaluated(function, name, enclosing)
        except (NameError, AttributeError):
            pass  # asked again when it is needed
        except Exception as error:  # noqa: BLE001 - an annotation is any code at all
            self.fault = f"{self.text} is no type ({type(error).__name__}: {error})"

    @property
    def text(self) -> str:
        """As it was written, if it was written as a string."""
        annotation = self._function.__annotations__[self._name]
        return repr(getattr(annotation, "__forward_arg__", annotation))

    @property
    def is_resolved(self) -> bool:
        """Whether it is known what it means."""
        return self._value is not _NOT_YET

    def resolved(self) -> Any:
        """What it means.

        :raises Unresolved: naming it, and what is not known.
        """
        if not self.is_resolved:
            try:
                self._value = _evaluated(self._function, self._name, {})
            except Exception as error:
                raise Unresolved(
                    f"{self.text} is not known ({type(error).__name__}: {error}); next: define "
                    "or import it at the top level of the module, outside `if TYPE_CHECKING:`"
                ) from error
        return self._value


def _evaluated(function: Any, name: str, enclosing: Mapping[str, Any]) -> Any:
    """As ``typing.get_type_hints`` would, which takes all annotations or none."""
    holder = type("Declared", (), {"__annotations__": {name: function.__annotations__[name]}})
    variables = {each.__name__: each for each in getattr(function, "__type_params__", ())}
    names = {**_class_names(function), **enclosing, **variables}
    return typing.get_type_hints(holder, function.__globals__, names, include_extras=True)[name]


def _class_names(function: Any) -> Mapping[str, Any]:
    """The names in the class the function stands in, if that can be found by its name."""
    *parents, _ = function.__qualname__.split(".")
    found: Any = sys.modules.get(function.__module__)
    for parent in parents:
        found = getattr(found, parent, None)
    return vars(found) if parents and isinstance(found, type) else {}


def enclosing_names(frame: types.FrameType | None, function: Callable[..., Any]) -> dict[str, Any]:
    """What is defined so far in the classes and functions around a declaration.

    :param frame: the one that declares.
    """
    names: dict[str, Any] = {}
    *parents, _ = function.__qualname__.split(".")
    for parent in reversed([each for each in parents if each != "<locals>"]):
        if frame is None or frame.f_code.co_name != parent:
            break
        names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def allows_none(annotation: Any) -> bool:
    """Whether a value of this type may be None."""
    if annotation in (None, type(None), Any, object):
        return True
    if isinstance(annotation, TypeVar):
        return allows_none(annotation.__bound__ or Any)
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return allows_none(arguments[0])
    if is_union(annotation):
        return any(map(allows_none, arguments))
    if origin is Literal:
        return None in arguments
    inner = getattr(annotation, "__supertype__", None) or getattr(
        origin or annotation, "__value__", 0
    )
    return bool(inner) and allows_none(inner)
