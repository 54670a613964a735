"""Row types that are not classes: `int | None`, NewType. Needs a checker that supports TypeForm."""

from __future__ import annotations

from typing import NewType

from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import assert_type

from sqla_typedpool import fetch_all, fetch_one

UserId = NewType("UserId", int)


async def forms(db: AsyncEngine) -> None:
    assert_type(await fetch_one(db, int | None, "SELECT 1"), int | None)
    assert_type(await fetch_all(db, str | None, "SELECT 1"), list[str | None])
    assert_type(await fetch_one(db, UserId, "SELECT 1"), UserId)
