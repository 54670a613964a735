"""Whether an expression may be NULL, and how the answers for its parts combine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Nullability:
    """Whether an expression may be NULL."""

    # False only if the expression is certainly never NULL; True if it may be or is unknown.
    nullable: bool

    # A short clause: ``u.name is NOT NULL``.
    reason: str

    # The relation of an outer join whose missing row is the only cause of a NULL.
    missing_with: str | None = None

    # Why it is known that it may be NULL; "" if it is never NULL, or if nothing is known.
    cause: str = ""


def never(reason: str) -> Nullability:
    """Return the answer for an expression that is never NULL."""
    return Nullability(False, reason)


def maybe(reason: str, missing_with: str | None = None) -> Nullability:
    """Return the answer for an expression that is known to be NULL for some data."""
    return Nullability(True, reason, missing_with, cause=reason)


def unknown(reason: str) -> Nullability:
    """Return the answer for an expression of which nothing is known: it counts as nullable."""
    return Nullability(True, reason)


CONSTANT = never("a constant")


def strict(parts: Sequence[Nullability], reason: str) -> Nullability:
    """Combine parts of which each one makes the whole NULL: operands, arguments.

    :param reason: of the result if there are no parts, or only constants.
    """
    nullable = [part for part in parts if part.nullable]
    if nullable:
        return _null_together(nullable, _first_cause(nullable))
    return next((part for part in parts if part is not CONSTANT), never(reason))


def either(parts: Sequence[Nullability], reason: str) -> Nullability:
    """Combine parts of which one that is not NULL is enough: COALESCE, GREATEST."""
    for part in parts:
        if not part.nullable:
            return never(f"{reason}: {part.reason}")
    if not parts:
        return maybe("there is no value")
    return _null_together(parts, parts[0].cause if all(part.cause for part in parts) else "")


def any_of(branches: Sequence[Nullability], reason: str) -> Nullability:
    """Combine alternatives of which one is taken for each row: CASE, UNION, VALUES."""
    for branch in branches:
        if branch.nullable:  # without missing_with: other rows come from other branches
            return Nullability(True, branch.reason, cause=_first_cause(branches))
    return never(reason) if branches else maybe("there is no value")


def without_relation(answer: Nullability) -> Nullability:
    """Drop ``missing_with`` if a missing row need not make the expression NULL.

    For example, ``FALSE AND p.flag`` is FALSE even if the row of ``p`` is missing.
    """
    return replace(answer, missing_with=None)


def without_cause(answer: Nullability) -> Nullability:
    """Drop ``cause`` if something that is not understood may exclude the NULL."""
    return replace(answer, cause="")


def _null_together(nullable: Sequence[Nullability], cause: str) -> Nullability:
    """Keep ``missing_with`` only if it is the same for all parts."""
    relations = {part.missing_with for part in nullable}
    together = relations.pop() if len(relations) == 1 else None
    return Nullability(True, nullable[0].reason, together, cause)


def _first_cause(parts: Sequence[Nullability]) -> str:
    return next((part.cause for part in parts if part.cause), "")
