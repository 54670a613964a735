"""How an instance of a class comes into being.

A constructor is called wherever it might do more than store its arguments. A class
of which ``dataclass`` has written every part is made without it, at a fraction of
the time: ``object.__new__`` and one store per field. A frozen one refuses stores, so
they go to an instance of its draft, a class of the same memory layout that allows
them, which then is declared to be of the frozen class.
"""

from __future__ import annotations

import dataclasses
import inspect
import keyword
import typing
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from inspect import Parameter
from types import MemberDescriptorType
from typing import Any

from sqla_typedpool.mapping.introspection import Library


class Strategy(Enum):
    """How one row becomes one object."""

    VALUE = "the value itself"
    TUPLE = "a tuple display"
    DICT = "a dict display"
    CALL = "its constructor"
    STORES = "object.__new__ and a store per field"
    DRAFT = "stores on a draft of the same layout, then made frozen"


@dataclass(frozen=True)
class Construction:
    """How instances of one class are made."""

    way: Strategy

    draft: type | None = None
    """With ``DRAFT``: the class that allows stores."""

    positional: tuple[str, ...] = ()
    """With ``CALL``: the fields that may be given by position, in this order."""


def construction_of(
    cls: Any, library: Library, fields: Sequence[tuple[str, str]]
) -> tuple[Construction, list[str]]:
    """How to make a class, and what stands in the way.

    :param fields: the fields' names and what the constructor calls them.
    """
    if library == "TypedDict":
        return Construction(Strategy.DICT), []
    if library == "pydantic":
        return Construction(Strategy.CALL), []
    names = [name for name, _ in fields]
    if library == "dataclass" and all(map(is_name, names)) and _is_plain(cls):
        if not cls.__dataclass_params__.frozen:
            return Construction(Strategy.STORES), []
        draft = _draft_of(cls) if all(_is_plain_store(cls, name) for name in names) else None
        if draft is not None:
            return Construction(Strategy.DRAFT, draft), []
    return _call(cls, fields)


def is_name(text: str) -> bool:
    """Whether a name means itself in source code (which normalises what it reads)."""
    is_word = text.isidentifier() and not keyword.iskeyword(text)
    return is_word and unicodedata.normalize("NFKC", text) == text


# ------------------------------------------------------------------- constructors


def parameters_of(cls: type) -> Mapping[str, Parameter] | None:
    """The parameters of a constructor; None when nobody knows."""
    try:
        return inspect.signature(cls).parameters
    except (TypeError, ValueError):
        return None


def _call(cls: type, fields: Sequence[tuple[str, str]]) -> tuple[Construction, list[str]]:
    parameters = parameters_of(cls)
    if parameters is None:
        return Construction(Strategy.CALL), []
    names = {parameter: name for name, parameter in fields}
    positional = []
    for each in parameters.values():
        if each.kind is not Parameter.POSITIONAL_OR_KEYWORD or each.name not in names:
            break
        positional.append(names[each.name])
    return Construction(Strategy.CALL, positional=tuple(positional)), _misfits(parameters, names)


def _misfits(parameters: Mapping[str, Parameter], names: Mapping[str, str]) -> list[str]:
    takes_more = any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())
    unknown = [name for name in names if name not in parameters and not takes_more]
    unmet = [
        each.name
        for each in parameters.values()
        if each.default is each.empty
        and each.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
        and each.name not in names
    ]
    return [
        *(f"the constructor takes no {name!r}, which is a field" for name in unknown),
        *(f"the constructor needs {name!r}, which is no field" for name in unmet),
    ]


# ------------------------------------------------------- what dataclass has written


def _is_plain(cls: Any) -> bool:
    """Whether making one is storing its fields, and nothing else."""
    return (
        _is_generated(cls, "__init__")
        and not hasattr(cls, "__post_init__")
        and cls.__new__ is object.__new__
        and type(cls).__call__ is type.__call__
        and all(field.init for field in dataclasses.fields(cls))
    )


def _is_plain_store(cls: type, name: str) -> bool:
    """Whether a draft, which knows no descriptor but slots, stores as the class would."""
    found = inspect.getattr_static(cls, name, None)
    return isinstance(found, MemberDescriptorType) or not hasattr(type(found), "__set__")


def _is_generated(cls: type, name: str) -> bool:
    """Whether dataclass wrote this method, for this class or for the base it is from.

    dataclass leaves what a class body defines alone; what it writes has no file.
    """
    owner = next(base for base in cls.__mro__ if name in vars(base))
    code = getattr(vars(owner)[name], "__code__", None)
    is_own = "__dataclass_params__" in vars(owner)
    return is_own and code is not None and code.co_filename == "<string>"


# ------------------------------------------------------------------------- drafts


def _draft_of(cls: type) -> type | None:
    """A class of the same layout that allows stores; None when there is none.

    It stands on none of the class's own bases, which may keep count of subclasses.
    Slots that are inherited cannot be had that way.
    """
    space: dict[str, Any] = {
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,
        "__module__": cls.__module__,
        "__orig_bases__": (),  # what lets Generic be a bare base
    }
    if "__slots__" in vars(cls):
        space["__slots__"] = vars(cls)["__slots__"]
    roots: tuple[Any, ...] = (object, typing.Generic)
    for root in roots:
        draft = type(cls.__name__, (root,), dict(space))
        if _changes_into(draft, cls):
            return draft
    return None


def _changes_into(draft: type, cls: type) -> bool:
    instance: Any = object.__new__(draft)
    try:
        instance.__class__ = cls
    except TypeError:
        return False
    return True
