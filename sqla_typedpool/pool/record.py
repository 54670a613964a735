"""One connection's place in the pool, across reconnects.

SQLAlchemy owns the record (its events, ``info``, ``record_info``); what the pool
needs to know of the connection in it stands beside.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from types import CodeType
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy import ConnectionRecord
from sqla_typedpool.pool.drivers import always_alive

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqla_typedpool.pool.drivers import Session
    from sqla_typedpool.pool.house import House
    from sqla_typedpool.pool.pool import TypedPool

__all__ = ["TypedRecord"]

_NEVER = float("inf")


class TypedRecord(ConnectionRecord):
    """A record that knows its house (the part of the pool its event loop has)."""

    __slots__ = (
        "answered",
        "expires_at",
        "house",
        "idle_since",
        "leaves_as",
        "mode",
        "name",
        "probe",
        "reported",
        "reprieve",
        "session",
        "since",
        "site",
        "spoiled",
        "task",
        "verified_at",
    )

    house: House
    since: float | None  # in use since then; None = not in use
    task: asyncio.Task[Any] | weakref.ref[asyncio.Task[Any]] | None
    site: tuple[CodeType, int] | None
    probe: Callable[[], int]
    mode: object  # whether the server was read-only at connect; None = it does not say
    session: Session | None  # by which a statement can be killed

    def __init__(self, pool: TypedPool, house: House) -> None:
        super().__init__(pool, connect=False)
        self.house = house
        self.since = None
        self.task = None
        self.site = None
        self.name: str | None = None  # of the task, noted with the site
        self.reported = False
        self.answered = False  # it has just been pinged or opened, whatever its socket shows
        self.spoiled = False  # another task may still be filling it: never use it again
        self.probe = always_alive
        self.idle_since = self.verified_at = self.expires_at = -_NEVER
        self.leaves_as = "lifetime"  # why it is closed when expires_at has come
        self.mode = self.session = None
        self.reprieve = -_NEVER  # its expires_at, while it is doubted

    def borrower(self) -> asyncio.Task[Any] | None:
        """The task that has it, if it still exists."""
        return self.task() if isinstance(self.task, weakref.ref) else self.task

    def loosen(self) -> None:
        """Hold the borrower weakly from now on.

        A weak reference costs more than all else a checkout notes, so the keeper
        makes it, for the few that stay out until it comes round. Held for good, a
        task nobody runs any more would never be collected, nor its connection.
        """
        if self.task is not None and not isinstance(self.task, weakref.ref):
            self.task = weakref.ref(self.task)

    def open(self) -> Any:
        """Connect; in a greenlet or, for a synchronous driver, anywhere."""
        connection = super().get_connection()
        self._soft_invalidate_time = 0
        self.house.pool.database.learn(connection)
        self.mode = self.house.pool.database.mode(connection)
        return connection

    def get_connection(self) -> Any:
        """What SQLAlchemy calls at each checkout; validation has been done before.

        It finds nothing, or a softly invalidated connection, when a listener has
        rejected what was handed out; then the borrower waits for a new one.
        """
        connection = self.dbapi_connection
        if connection is not None and self._soft_invalidate_time <= self.starttime:
            return connection  # is_softly_invalid(), written out: every checkout passes
        return self.house.renew(self)

    def is_softly_invalid(self) -> bool:
        """Whether the application wants it replaced before its next use."""
        return self._soft_invalidate_time > self.starttime

    def condemn(self, reason: str) -> None:
        """Let it be closed as soon as nobody needs it."""
        self.expires_at = self.verified_at = -_NEVER
        self.leaves_as = reason

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:
        """Close it, now or (softly) before its next use.

        Without an error it is the application's own wish: it is closed when this
        returns. After an error or a cancellation the farewell is said in the
        background; nobody should wait for a server that may be silent.
        """
        if self.session is not None and isinstance(e, asyncio.CancelledError):
            self.house.kill(self.session)
        if soft:
            super().invalidate(e, soft)
            # SQLAlchemy compares two readings of the wall clock, which may be set back
            self._soft_invalidate_time = math.nextafter(self.starttime, math.inf)
            return
        if e is not None or self.dbapi_connection is None:
            super().invalidate(e)
            return
        in_place, name = self.house.pool.parting.in_place, id(self.dbapi_connection)
        in_place.add(name)
        try:
            super().invalidate()
        finally:
            in_place.discard(name)

    def cut_off(self) -> None:
        """Close it; the pool has decided how."""
        super().invalidate()
