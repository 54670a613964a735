"""The pool where no event loop runs: mocks, tests, synchronous helpers.

Nothing can be left to a task here, so a caller connects and closes in its own
thread, as SQLAlchemy's QueuePool does, and nothing is pinged. Threads may share it,
hence the lock; no connection is opened while it is held.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from sqla_typedpool.errors import PoolClosed, PoolSaturated
from sqla_typedpool.pool.house import House

if TYPE_CHECKING:
    from sqla_typedpool.pool.pool import TypedPool
    from sqla_typedpool.pool.record import TypedRecord

__all__ = ["Inline"]


class _ThreadWaiter:
    """One thread in the queue. It gets a connection, or room to open one (None)."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._gone = False
        self.record: TypedRecord | None = None
        self.error: BaseException | None = None

    def serve(self, record: TypedRecord | None) -> bool:
        with self._lock:
            if self._gone:
                return False
            self.record = record
            self._event.set()
            return True

    def fail(self, error: BaseException) -> bool:
        self.error = error
        return self.serve(None)

    def wait(self, seconds: float | None) -> bool:
        """True when served; False when the time is over and nobody has served."""
        self._event.wait(seconds)
        with self._lock:
            self._gone = True
            return self._event.is_set()


class Inline(House):
    """The slots and the queue of callers without an event loop."""

    def __init__(self, pool: TypedPool) -> None:
        super().__init__(pool)
        self._lock = threading.RLock()
        self.refusing = pool.is_closed

    def checkout(self) -> TypedRecord:
        """An idle connection, a new one, or one that is returned in time."""
        record = self._take_or_reserve()
        if record is None:
            record = self._open()
        with self._lock:
            self.hand_out(record, self.clock(), None)
        return record

    def _take_or_reserve(self) -> TypedRecord | None:
        """A connection counted as in use, or None: a slot counted as in use."""
        with self._lock:
            if self.refusing:
                raise PoolClosed("this pool was closed with close()")
            if not self.slots.waiters:
                if (record := self._next_young()) is not None:
                    return record
                if self.slots.has_room():
                    self.slots.in_use += 1
                    return None
            waiter = self._queue_up()
        return self._await_turn(waiter)

    def _queue_up(self) -> _ThreadWaiter:
        most = self.options.pool_max_waiting
        if most is not None and len(self.slots.waiters) >= most:
            self.tally.saturated += 1
            raise PoolSaturated(f"pool_max_waiting={most} callers wait for a connection already")
        waiter = _ThreadWaiter()
        self.slots.join(waiter)
        return waiter

    def _await_turn(self, waiter: _ThreadWaiter) -> TypedRecord | None:
        started = self.clock()
        timeout: float | None = self.pool._timeout
        served = waiter.wait(None if timeout is None else max(0.0, timeout))
        with self._lock:
            waited = self.clock() - started
            if not served:
                self.slots.leave(waiter)
                self.tally.timeouts += 1
                raise self.timeout_error("queueing", waited, None)
            if waiter.error is not None:
                raise waiter.error
            self.tally.wait_time.add(waited)
            return waiter.record

    def _next_young(self) -> TypedRecord | None:
        """The next idle connection that is not too old; in use."""
        while self.slots.idle:
            record = self.slots.take()
            if self.clock() < record.expires_at:
                return record
            self.slots.in_use -= 1
            self._discard(record, "lifetime")
        return None

    def _open(self) -> TypedRecord:
        with self._lock:
            record, started = self.empty_record(), self.clock()
            is_shell = bool(record.starttime)
        try:
            record.open()
        except BaseException:
            with self._lock:
                self.tally.connect_failures += 1
                self.slots.in_use -= 1
                if is_shell:
                    self.shelve(record)
                self._offer_room()
            raise
        with self._lock:
            self.look_at(record)
            self.stamp(record, self.clock())
            self.tally.connect_time.add(self.clock() - started)
        return record

    def give_back(self, record: TypedRecord) -> None:
        with self._lock:
            now = self.clock()
            self.slots.in_use -= 1
            self.tally.note_use(now - (record.since or now))
            record.since = record.site = None
            if record.dbapi_connection is None:
                self.forget(record, "detached")
                self.shelve(record)
                self._offer_room()
                return
            record.idle_since = now
            if self.slots.hand_over(record):
                return
            reason = self._reason_to_close(record, now)
            if reason is None:
                self.slots.keep(record)
                return
        self._discard(record, reason)

    def _reason_to_close(self, record: TypedRecord, now: float) -> str | None:
        if now >= record.expires_at:
            return record.leaves_as
        return "overflow" if self.slots.is_surplus() else None

    def _discard(self, record: TypedRecord, reason: str) -> None:
        self.forget(record, reason)
        record.close()
        with self._lock:
            if reason == "lifetime":
                self.shelve(record)
            self._offer_room()

    def _offer_room(self) -> None:
        """A slot is free: the oldest waiter may open a connection in it."""
        if self.slots.waiters and self.slots.has_room():
            self.slots.hand_over(None)  # type: ignore[arg-type]

    def renew(self, record: TypedRecord) -> Any:
        """Connect again, in the caller's thread."""
        self.forget(record, "invalidated")
        connection = record.open()
        self.look_at(record)
        self.stamp(record, self.clock())
        return connection

    def refuse(self) -> None:
        """Hand out nothing more; threads that wait are told at once."""
        with self._lock:
            self.refusing = True
            while self.slots.fail_oldest(PoolClosed("this pool was closed while you waited")):
                pass
        self.dispose()

    def dispose(self) -> None:
        with self._lock:
            for record in list(self.records):
                record.condemn("close" if self.refusing else "dispose")
            self.shells.clear()
            idle = list(self.slots.idle)
            self.slots.idle.clear()
        for record in idle:
            self._discard(record, "dispose")

    def retire_all(self) -> None:
        with self._lock:
            for record in list(self.records):
                record.condemn("lifetime")
