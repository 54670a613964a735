"""The annotations of classes and functions, before and after Python 3.14.

Before 3.14 an annotation is evaluated where it is written, and an author quotes what is not
defined there. From 3.14 on, all annotations of a class or function are evaluated together, when
they are first read, and reading them raises ``NameError`` while a name is undefined (PEP 649 and
749). ``annotationlib`` returns them with a ``ForwardRef`` for what cannot be evaluated.

What is done for 3.14 follows its documentation: no test runs on it yet.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

_annotationlib: Any = import_module("annotationlib") if sys.version_info >= (3, 14) else None

# Before Python 3.11 ``get_type_hints`` leaves the string in ``list["User"]`` as it is. How many
# strings inside each other are evaluated: an alias that contains itself has no end.
_LEVELS_OF_QUOTES = 5 if sys.version_info < (3, 11) else 0


def annotations_of(owner: Any) -> dict[str, Any]:
    """Return the annotations of a class (without those of its bases) or of a function.

    What cannot be evaluated is a string or a ``ForwardRef``, or contains one.
    """
    if _annotationlib is None:
        return inspect.get_annotations(owner)
    found: dict[str, Any] = _annotationlib.get_annotations(
        owner, format=_annotationlib.Format.FORWARDREF
    )
    return found


def written(owner: Any, name: str) -> Any:
    """Return an annotation for a message: its text, if Python has kept it."""
    if _annotationlib is None:
        annotation = annotations_of(owner)[name]
        return getattr(annotation, "__forward_arg__", annotation)
    return _annotationlib.get_annotations(owner, format=_annotationlib.Format.STRING)[name]


def evaluated(
    owner: Any, name: str, global_names: dict[str, Any], local_names: Mapping[str, Any]
) -> Any:
    """Evaluate one annotation, and the aliases in it. ``get_type_hints`` evaluates all or none.

    :raises NameError: a name is not defined.
    :raises Exception: what the annotation raises, which may be any code.
    """

    def evaluate(annotation: Any) -> Any:
        holder = type(owner.__name__, (), {"__annotations__": {name: annotation}})
        return typing.get_type_hints(holder, global_names, local_names, include_extras=True)[name]

    hint = evaluate(annotations_of(owner)[name])
    for _ in range(_LEVELS_OF_QUOTES):
        hint = evaluate(_with_references(hint))
    _evaluate_aliases(hint)
    return hint


def _with_references(annotation: Any) -> Any:
    """Replace the strings of ``list["User"]`` by references, as Python 3.11 and later do.

    :return: the same object if there are none.
    """
    arguments: tuple[Any, ...] = getattr(annotation, "__args__", ())
    is_built_in = isinstance(annotation, types.GenericAlias)
    replaced = tuple(
        typing.ForwardRef(each) if is_built_in and isinstance(each, str) else _with_references(each)
        for each in arguments
    )
    if all(new is old for new, old in zip(replaced, arguments, strict=True)):
        return annotation
    if is_built_in:
        return types.GenericAlias(typing.cast(Any, annotation.__origin__), replaced)
    if isinstance(annotation, types.UnionType):
        return typing.Union[replaced]  # noqa: UP007
    return annotation.copy_with(replaced)


def _evaluate_aliases(annotation: Any, enclosing: tuple[Any, ...] = ()) -> None:
    """Evaluate ``type X = ...``, which Python does when the value is first read.

    :param enclosing: the aliases that contain the annotation.
    """
    alias = typing.get_origin(annotation) or annotation
    if any(alias is each for each in enclosing):
        return
    if hasattr(alias, "__value__"):
        _evaluate_aliases(alias.__value__, (*enclosing, alias))
    for each in typing.get_args(annotation):
        _evaluate_aliases(each, enclosing)


def python_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function or constructor, without evaluating its annotations.

    :raises TypeError: it is not callable.
    :raises ValueError: Python cannot inspect it.
    """
    if _annotationlib is None:
        return inspect.signature(function)
    options: dict[str, Any] = {"annotation_format": _annotationlib.Format.FORWARDREF}
    return inspect.signature(function, **options)


def copy_annotations(source: Any, target: Any) -> None:
    """Give a function the annotations of another one, without evaluating them.

    From 3.14 on ``functools.update_wrapper`` copies ``__annotate__``, which is None if the
    annotations were set, or are strings.
    """
    if getattr(source, "__annotate__", None) is None:
        target.__annotations__ = source.__annotations__


def has_forward_reference(annotation: Any) -> bool:
    """Return whether an annotation is, or contains, a name that has not been evaluated."""
    if isinstance(annotation, typing.ForwardRef):
        return True
    return any(map(has_forward_reference, typing.get_args(annotation)))
