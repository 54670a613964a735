"""The annotations of a class's fields, resolved in the module of the class that wrote them."""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from typing import Any

from sqla_typedpool.mapping.annotations import AnnotationError, Bindings, substituted
from sqla_typedpool.mapping.deferred import annotations_of, evaluated, written


class Hints:
    """The resolved annotations of one class, which may be generic: ``Page[int]``."""

    def __init__(self, annotation: Any) -> None:
        self._cls: type = typing.get_origin(annotation) or annotation
        arguments = (substituted(each, {}) for each in typing.get_args(annotation))
        self._bindings = _bindings(self._cls, tuple(arguments))

    def get(self, name: str, default: Any) -> tuple[Any, Bindings]:
        """Return the annotation of a field, and the types its type variables are bound to.

        :param default: the type of a field that has no annotation.
        :raises AnnotationError: the annotation contains an unknown name.
        """
        for base in self._cls.__mro__:
            if name in annotations_of(base):
                return _resolved(base, name), self._bindings.get(base, {})
        return default, {}


def _bindings(cls: type, arguments: tuple[Any, ...]) -> dict[type, Bindings]:
    """Return, for a class and each of its bases, the types its type variables are bound to.

    A TypedDict copies the annotations of its bases, so a class has their bindings too.
    """
    own = dict(zip(_parameters(cls), arguments, strict=False))
    inherited: dict[Any, Any] = {}
    found: dict[type, Bindings] = {}
    for base, base_arguments in _bases(cls):
        of_base = _bindings(base, tuple(substituted(each, own) for each in base_arguments))
        found.update(of_base)
        inherited.update(of_base[base])
    found[cls] = {**inherited, **own}
    return found


def _parameters(cls: type) -> tuple[Any, ...]:
    parameters: tuple[Any, ...] = getattr(cls, "__parameters__", ())
    return parameters or getattr(cls, "__type_params__", ())


def _bases(cls: type) -> Iterator[tuple[type, tuple[Any, ...]]]:
    for declared in cls.__dict__.get("__orig_bases__", cls.__bases__):
        base = typing.get_origin(declared) or declared
        if isinstance(base, type) and base not in (typing.Generic, object):
            yield base, typing.get_args(declared)


def _resolved(base: type, name: str) -> Any:
    """Evaluate one annotation as ``typing.get_type_hints`` evaluates those of a whole class.

    ``get_type_hints`` itself names neither the class nor the field if a name is unknown.
    """
    module = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
    type_parameters = {each.__name__: each for each in _parameters(base)}
    enclosing = {base.__name__: base, **vars(base), **type_parameters}
    try:
        return evaluated(base, name, enclosing, module)
    except (NameError, AttributeError) as error:
        raise AnnotationError(
            f"{str(written(base, name))!r} is not defined in the module of {base.__name__} "
            f"({error}); next: define or import it at the top level of that module, outside "
            "`if TYPE_CHECKING:`"
        ) from error
    except Exception as error:  # an annotation may be any code
        raise AnnotationError(f"{str(written(base, name))!r} is not a type ({error})") from error
