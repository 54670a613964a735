"""Annotations of a declared function. Names that are defined later are resolved later."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from sqla_typedpool.mapping.deferred import evaluated, written
from sqla_typedpool.mapping.typespec import is_union


class Unresolved(Exception):
    """An annotation uses a name that is not defined. The message names it and the next step."""


class DeferredAnnotation:
    """One annotation. It may use names that are defined later in the module."""

    def __init__(self, function: Any, name: str, enclosing: Mapping[str, Any]) -> None:
        """
        :param name: the name of the parameter, or ``"return"``.
        :param enclosing: the names defined in the classes and functions around the declaration.
        """
        self._function = function
        self._name = name
        self._type: Any = None
        # Whether the type is known.
        self.is_resolved = False
        # Why the annotation can never be a type, or "".
        self.error = ""
        try:
            self._type = _evaluate(function, name, enclosing)
            self.is_resolved = True
        except (NameError, AttributeError):
            pass  # resolved when it is needed
        except Exception as error:  # noqa: BLE001 - an annotation may be any code
            reason = f"{type(error).__name__}: {error}"
            self.error = f"the annotation {self.text} is not a type ({reason}); next: correct it"

    @property
    def text(self) -> str:
        """The annotation as the source code has it, if it is a string there."""
        return repr(written(self._function, self._name))

    def resolve(self) -> Any:
        """Return the type.

        :raises Unresolved: a name in the annotation is not defined.
        """
        if not self.is_resolved:
            try:
                self._type = _evaluate(self._function, self._name, {})
            except Exception as error:
                raise Unresolved(
                    f"{self.text} cannot be resolved ({type(error).__name__}: {error}); next: "
                    "define or import the name at the top level of the module, outside "
                    "`if TYPE_CHECKING:`"
                ) from error
            self.is_resolved = True
        return self._type


def _evaluate(function: Any, name: str, enclosing: Mapping[str, Any]) -> Any:
    variables = {each.__name__: each for each in getattr(function, "__type_params__", ())}
    names = {**_class_names(function), **enclosing, **variables}
    return evaluated(function, name, function.__globals__, names)


def _class_names(function: Any) -> Mapping[str, Any]:
    """Return the names defined in the function's class; none if the class cannot be found."""
    *parents, _ = function.__qualname__.split(".")
    found: Any = sys.modules.get(function.__module__)
    for parent in parents:
        found = getattr(found, parent, None)
    return vars(found) if parents and isinstance(found, type) else {}


def enclosing_names(frame: types.FrameType | None, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names defined so far in the classes and functions around a declaration.

    :param frame: the frame in which the decorator is called.
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
    """Return whether None is a value of this type."""
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
    supertype = getattr(annotation, "__supertype__", None)  # of a NewType
    inner = supertype or getattr(origin or annotation, "__value__", None)  # of a type alias
    return bool(inner) and allows_none(inner)
