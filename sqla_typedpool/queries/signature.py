"""The parameters of a declared function: self, the executor, the binds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SELF = ("self", "cls")
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Signature:
    """What is called, and with what."""

    parameters: tuple[inspect.Parameter, ...]
    """All of them."""

    executor: str | None
    """Where it runs; None = there is no such parameter."""

    binds: tuple[inspect.Parameter, ...]

    guessed_self: str | None = None
    """What was taken for self only because it stands in a class without an annotation."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the binds."""
        return tuple(each.name for each in self.binds)

    def source(self) -> str:
        """As it is written in a ``def``, without annotations and the values of defaults."""
        written: list[str] = []
        kinds = [each.kind for each in self.parameters]
        for index, each in enumerate(self.parameters):
            before = kinds[index - 1] if index else None
            if before is each.POSITIONAL_ONLY and each.kind is not before:
                written.append("/")
            if each.kind is each.KEYWORD_ONLY and before is not each.kind:
                written.append("*")
            written.append(each.name)
        if kinds and kinds[-1] is inspect.Parameter.POSITIONAL_ONLY:
            written.append("/")
        return ", ".join(written)


def signature_of(function: Callable[..., Any], *, is_static: bool) -> Signature:
    """The signature of a function, which may stand in a class.

    :param is_static: whether it is known to have no ``self``.
    """
    parameters = tuple(inspect.signature(function).parameters.values())
    first = parameters[0] if parameters and not is_static else None
    has_self = first is not None and _is_self(function, first)
    rest = [each for each in parameters[has_self:] if each.kind not in _VARIADIC]
    executor = rest[0].name if rest else None
    guessed = first.name if first is not None and has_self and first.name not in _SELF else None
    return Signature(parameters, executor, tuple(rest[1:]), guessed)


def _is_self(function: Callable[..., Any], first: inspect.Parameter) -> bool:
    """In a class it is the one that needs no annotation, whatever its name."""
    *_, parent = ["<locals>", *function.__qualname__.split(".")[:-1]]
    is_in_class = parent != "<locals>"
    return first.name in _SELF or (is_in_class and first.annotation is first.empty)


def signature_faults(signature: Signature, function: Callable[..., Any]) -> list[str]:
    """What is wrong with the parameters themselves."""
    faults = []
    if signature.executor is None:
        faults.append("it has no parameter for the database; add one: (db: Executor, ...)")
    faults += [
        f"{each} cannot be a bind: name every parameter of the SQL"
        for each in signature.parameters
        if each.kind in _VARIADIC
    ]
    for each in signature.binds:
        if each.kind is each.POSITIONAL_ONLY:
            faults.append(f"{each.name} is positional-only, and binds go by name; move the /")
        elif each.annotation is each.empty:
            faults.append(f"the parameter {each.name} has no type; write {each.name}: int")
    if "return" not in function.__annotations__:
        faults.append(
            "it does not say what it returns; write -> User, User | None, list[User], "
            "AsyncIterator[User], RowCount or None"
        )
    return faults
