"""Hand-judged cases, room by room: each says what its columns can be before it was ever run."""

from __future__ import annotations

from . import (
    conditions,
    functions,
    groups,
    joins,
    quals,
    queries,
    relations,
    sets,
    traps,
    types,
    windows,
    writing,
)
from .case import Case

ROOMS = {
    "joins": joins.CASES,
    "relations": relations.CASES,
    "quals": quals.CASES,
    "conditions": conditions.CASES,
    "groups": groups.CASES,
    "windows": windows.CASES,
    "queries": queries.CASES,
    "sets": sets.CASES,
    "functions": functions.CASES,
    "types": types.CASES,
    "traps": traps.CASES,
    "writing": writing.CASES,
}
CASES = [case for room in ROOMS.values() for case in room]

__all__ = ["CASES", "ROOMS", "Case"]
