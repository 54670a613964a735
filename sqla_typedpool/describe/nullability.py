"""Whether an expression may be NULL, and how the answers for its parts combine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Nullability:
    """Whether an expression may be NULL."""

    # False only if the expression is certainly never NULL; True if it may be or is unknown.
    nullable: bool

    # A short clause: ``u.name is NOT NULL``.
    reason: str

    # The relation of an outer join whose missing row is the only cause of a NULL.
    missing_with: str | None = None


def never(reason: str) -> Nullability:
    """Return the answer for an expression that is never NULL."""
    return Nullability(False, reason)


def maybe(reason: str, missing_with: str | None = None) -> Nullability:
    """Return the answer for an expression that may be NULL, or is unknown."""
    return Nullability(True, reason, missing_with)


CONSTANT = never("a constant")


def strict(parts: Sequence[Nullability], reason: str) -> Nullability:
    """Combine parts of which each one makes the whole NULL: operands, arguments.

    :param reason: of the result if there are no parts, or only constants.
    """
    nullable = [part for part in parts if part.nullable]
    if nullable:
        return _null_together(nullable)
    return next((part for part in parts if part is not CONSTANT), never(reason))


def either(parts: Sequence[Nullability], reason: str) -> Nullability:
    """Combine parts of which one that is not NULL is enough: COALESCE, GREATEST."""
    for part in parts:
        if not part.nullable:
            return never(f"{reason}: {part.reason}")
    return _null_together(parts) if parts else maybe("there is no value")


def any_of(branches: Sequence[Nullability], reason: str) -> Nullability:
    """Combine alternatives of which one is taken for each row: CASE, UNION, VALUES."""
    for branch in branches:
        if branch.nullable:  # without missing_with: other rows come from other branches
            return maybe(branch.reason)
    return never(reason) if branches else maybe("there is no value")


def without_relation(answer: Nullability) -> Nullability:
    """Drop ``missing_with`` if a missing row need not make the expression NULL.

    For example, ``FALSE AND p.flag`` is FALSE even if the row of ``p`` is missing.
    """
    return maybe(answer.reason) if answer.missing_with else answer


def _null_together(nullable: Sequence[Nullability]) -> Nullability:
    """Keep ``missing_with`` only if it is the same for all parts."""
    relations = {part.missing_with for part in nullable}
    return maybe(nullable[0].reason, relations.pop() if len(relations) == 1 else None)
