"""The annotations of a class's fields, resolved where each was written."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator
from typing import Any

from sqla_typedpool.mapping.annotations import AnnotationError, Bindings, substituted


class Hints:
    """The resolved annotations of one class, which may be generic: ``Page[int]``."""

    def __init__(self, annotation: Any) -> None:
        self._cls: type = typing.get_origin(annotation) or annotation
        arguments = (substituted(each, {}) for each in typing.get_args(annotation))
        self._bindings = _bindings(self._cls, tuple(arguments))

    def get(self, name: str, otherwise: Any) -> tuple[Any, Bindings]:
        """The annotation of a field, and what its type variables stand for.

        :param otherwise: the type of a field that has no annotation.
        :raises AnnotationError: when a name in it means nothing.
        """
        for base in self._cls.__mro__:
            if name in inspect.get_annotations(base):
                return _resolved(base, name), self._bindings.get(base, {})
        return otherwise, {}


def _bindings(cls: type, arguments: tuple[Any, ...]) -> dict[type, Bindings]:
    """For a class and its bases: type variable -> what it stands for.

    TypedDicts copy the annotations of their bases, so a class knows these bindings too.
    """
    own = dict(zip(_parameters(cls), arguments, strict=False))
    inherited: dict[Any, Any] = {}
    found: dict[type, Bindings] = {}
    for base, given in _bases(cls):
        of_base = _bindings(base, tuple(substituted(each, own) for each in given))
        found.update(of_base)
        inherited.update(of_base[base])
    found[cls] = {**inherited, **own}
    return found


def _parameters(cls: type) -> tuple[Any, ...]:
    parameters: tuple[Any, ...] = getattr(cls, "__parameters__", ())
    return parameters or getattr(cls, "__type_params__", ())


def _bases(cls: type) -> Iterator[tuple[type, tuple[Any, ...]]]:
    for written in cls.__dict__.get("__orig_bases__", cls.__bases__):
        base = typing.get_origin(written) or written
        if isinstance(base, type) and base not in (typing.Generic, object):
            yield base, typing.get_args(written)


def _resolved(base: type, name: str) -> Any:
    """One annotation, evaluated as ``typing.get_type_hints`` would the whole class.

    That one tells neither the class nor the field when a name is unknown.
    """
    annotation = inspect.get_annotations(base)[name]
    holder = type(base.__name__, (), {"__annotations__": {name: annotation}})
    module = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
    inner = {each.__name__: each for each in _parameters(base)}
    enclosing = {base.__name__: base, **vars(base), **inner}
    try:
        return typing.get_type_hints(holder, enclosing, module, include_extras=True)[name]
    except NameError as error:
        raise AnnotationError(
            f"{_written(annotation)!r} is not known where {base.__name__} stands ({error}); "
            "define or import it at the top level of that module, outside `if TYPE_CHECKING:`"
        ) from error
    except TypeError as error:
        raise AnnotationError(f"{_written(annotation)!r} is no type ({error})") from error


def _written(annotation: Any) -> str:
    return str(getattr(annotation, "__forward_arg__", annotation))
