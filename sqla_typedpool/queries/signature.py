"""The parameters of a declared function: ``self``, the executor, the binds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqla_typedpool.mapping.deferred import annotations_of, python_signature

_SELF = ("self", "cls")
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Signature:
    """The parameters of a declared function, by their purpose."""

    # All parameters.
    parameters: tuple[inspect.Parameter, ...]
    # The name of the parameter that runs the statement; None = there is none.
    executor: str | None
    # The parameters of the SQL.
    binds: tuple[inspect.Parameter, ...]
    # The parameter that was taken for ``self`` only because it is the first one of a method and
    # has no annotation.
    assumed_self: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the binds."""
        return tuple(each.name for each in self.binds)

    def source(self) -> str:
        """Return the parameters as in a ``def``, without annotations and default values."""
        bare = [each.replace(annotation=each.empty, default=each.empty) for each in self.parameters]
        return str(inspect.Signature(bare))


def signature_of(function: Callable[..., Any], *, is_static: bool) -> Signature:
    """Return the signature of a function, which may be a method.

    :param is_static: whether it is a static method, which has no ``self``.
    """
    parameters = tuple(python_signature(function).parameters.values())
    first = parameters[0] if parameters and not is_static else None
    has_self = first is not None and _is_self(function, first)
    rest = [each for each in parameters[has_self:] if each.kind not in _VARIADIC]
    executor = rest[0].name if rest else None
    assumed = first.name if first is not None and has_self and first.name not in _SELF else None
    return Signature(parameters, executor, tuple(rest[1:]), assumed)


def _is_self(function: Callable[..., Any], first: inspect.Parameter) -> bool:
    """Return whether the first parameter is ``self``: by its name, or a method's without type."""
    *_, parent = ["<locals>", *function.__qualname__.split(".")[:-1]]
    is_in_class = parent != "<locals>"
    return first.name in _SELF or (is_in_class and first.annotation is first.empty)


def signature_errors(signature: Signature, function: Callable[..., Any]) -> Iterator[str]:
    """Yield everything that is wrong with the parameters, without regard to the SQL."""
    if signature.executor is None:
        yield "the function has no parameter for the database; next: add one, (db: Executor, ...)"
    for each in signature.parameters:
        if each.kind in _VARIADIC:
            yield f"{each} cannot be a parameter of the SQL; next: declare each parameter by name"
    for each in signature.binds:
        if each.kind is each.POSITIONAL_ONLY:
            yield f"{each.name} is positional-only, but the SQL needs its name; next: move the /"
        elif each.annotation is each.empty:
            yield f"the parameter {each.name} has no type; next: write {each.name}: int"
    if "return" not in annotations_of(function):
        yield (
            "the function has no return annotation; next: write -> User, User | None, "
            "list[User], AsyncIterator[User], RowCount or None"
        )
