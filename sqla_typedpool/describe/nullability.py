"""The answer about one expression: can it be NULL, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Nullability:
    """Whether an expression may be NULL; False only where it is certain."""

    nullable: bool
    why: str
    missing_with: str | None = None
    """The relation whose missing row is the only reason for a NULL."""


def never(why: str) -> Nullability:
    """It is never NULL."""
    return Nullability(False, why)


def maybe(why: str, missing_with: str | None = None) -> Nullability:
    """It may be NULL, or nobody knows."""
    return Nullability(True, why, missing_with)


CONSTANT = never("a constant")


def strict(parts: Sequence[Nullability], why: str) -> Nullability:
    """NULL if any part is: operators, strict functions, and what holds for all arms.

    :param why: said where there are no parts, or only constants.
    """
    nullable = [part for part in parts if part.nullable]
    if nullable:
        return _shared(nullable)
    telling = [part for part in parts if part is not CONSTANT]
    return telling[0] if telling else never(why)


def either(parts: Sequence[Nullability], why: str) -> Nullability:
    """NULL only if every part is: COALESCE, GREATEST."""
    for part in parts:
        if not part.nullable:
            return never(f"{why}: {part.why}")
    return _shared(parts) if parts else maybe("nothing is known of it")


def any_of(arms: Sequence[Nullability], why: str) -> Nullability:
    """One arm is taken, nobody knows which: CASE, UNION, VALUES."""
    nullable = [arm for arm in arms if arm.nullable]
    if nullable:  # a row of one arm says nothing of a row of another
        return maybe(nullable[0].why)
    return never(why) if arms else maybe("nothing is known of it")


def without_relation(found: Nullability) -> Nullability:
    """The same where a NULL and a missing row are not one: FALSE AND NULL is FALSE."""
    return maybe(found.why) if found.missing_with else found


def _shared(nullable: Sequence[Nullability]) -> Nullability:
    """NULL together: only if one missing row is the reason for all."""
    reasons = {part.missing_with for part in nullable}
    return maybe(nullable[0].why, reasons.pop() if len(reasons) == 1 else None)
