"""Sessions whose ``execute`` is deprecated, as that of SQLModel: it warns, and calls SQLAlchemy's.

The typed functions convert the rows themselves, so the advice of the warning (``exec()``) does not
apply to them. These functions call SQLAlchemy's method, which a session of any class has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncResult, AsyncSession
from sqlalchemy.orm import Session

T = TypeVar("T")


def is_deprecated(db: Any) -> bool:
    """Whether ``db.execute()`` would warn (PEP 702)."""
    return hasattr(type(db).execute, "__deprecated__")


async def execute(db: AsyncSession, statement: Any, parameters: Any, read: Callable[[Any], T]) -> T:
    """Run a statement, and read its result."""
    return await db.run_sync(lambda session: read(Session.execute(session, statement, parameters)))


async def stream(
    db: AsyncSession, statement: Any, parameters: Any, options: Mapping[str, Any]
) -> AsyncResult[Any]:
    """Run a statement whose rows are fetched later."""
    options = {**options, "stream_results": True}
    return AsyncResult(
        await db.run_sync(Session.execute, statement, parameters, execution_options=options)
    )
