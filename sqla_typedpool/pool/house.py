"""What the pool keeps per event loop, and what is the same without one.

A house has slots, records and numbers. :class:`~.station.Station` is the house of
an event loop; :class:`~.inline.Inline` serves callers that have none.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sqla_typedpool.errors import PoolTimeout
from sqla_typedpool.pool.drivers import always_alive
from sqla_typedpool.pool.holders import Holder, call_site, describe, site_of_task, written
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.stats import Gauges, Tally

if TYPE_CHECKING:
    from asyncio import Task

    from sqla_typedpool.pool.drivers import Session
    from sqla_typedpool.pool.options import PoolOptions
    from sqla_typedpool.pool.pool import TypedPool
    from sqla_typedpool.pool.record import TypedRecord

__all__ = ["House"]

_NEVER = float("inf")

# of a lifetime, at most: connections born together do not die together
_JITTER = 0.1


class House:
    """The slots, records and numbers of one event loop (or of none)."""

    def __init__(self, pool: TypedPool, clock: Callable[[], float] = time.monotonic) -> None:
        self.pool = pool
        self.loop: Any = None  # an event loop, but for Inline
        self.clock = clock
        self.slots: Slots[TypedRecord] = Slots(pool.limits, lifo=pool.options.use_lifo)
        self.tally = Tally()
        self.records: set[TypedRecord] = set()  # those with a connection
        self.shells: list[TypedRecord] = []  # those without: identities to be filled again
        self.generation = 0  # dispose() begins a new one; attempts under way belong to the old
        self.ends_as = "dispose"  # why the generation before this one has to go
        self.trusted_for = self._trusted_for()
        self.notes_sites = pool.options.pool_leak_threshold is not None

    @property
    def options(self) -> PoolOptions:
        return self.pool.options

    def limit_lifetime(self) -> None:
        """The lifetime was changed: connections that exist may have less to live."""
        self.trusted_for = self._trusted_for()
        for record in self.records:
            record.expires_at = min(record.expires_at, self.clock() + self._lifetime())

    def renew(self, record: TypedRecord) -> Any:
        """Connect a checked-out record again, in its borrower's path."""
        raise NotImplementedError

    def kill(self, session: Session) -> None:
        """Its borrower was cancelled: end on the server what may still run."""

    # ------------------------------------------------------------------ hand out

    def hand_out(self, record: TypedRecord, now: float, task: Task[Any] | None) -> None:
        """Note who has it, and since when."""
        record.since = now
        record.task = task
        if self.notes_sites:
            self.note_site(record)
        self.tally.checkouts += 1

    def note_site(self, record: TypedRecord) -> None:
        """Note what a leak report will want, the task's name too: it may be gone by then."""
        record.site = call_site()
        task = record.borrower()
        record.name = None if task is None else task.get_name()

    def report_returned(self, record: TypedRecord, held: float) -> None:
        record.reported = False
        self.pool.log.warning(
            "leak: a connection held by %s was returned after %.1f s",
            self.holder(record, record.since or 0.0).task,
            held,
            extra={"held_seconds": held},
        )

    # ------------------------------------------------------------------- records

    def look_at(self, record: TypedRecord) -> None:
        """A connection has been opened in this record: learn how to look at it."""
        driver, connection = self.pool.database.driver, record.driver_connection
        record.probe = driver.probe(connection)
        record.session = driver.session(connection)

    def stamp(self, record: TypedRecord, now: float) -> None:
        """Note the birth of a connection, and its limits."""
        record.expires_at = now + self._lifetime()
        record.leaves_as = "lifetime"
        record.spoiled = False
        record.idle_since = record.verified_at = now
        self.records.add(record)

    def _lifetime(self) -> float:
        """How long a connection born now may live, in seconds."""
        most = self.options.pool_max_lifetime
        if most is None or self.pool.database.in_memory:
            return _NEVER
        return most * (1 - _JITTER * random.random())

    def _trusted_for(self) -> float:
        """For how long an unused connection is handed out without a ping, in seconds."""
        options = self.options
        lifetime = options.pool_max_lifetime or _NEVER
        after = options.pool_validate_after
        if after is None or not self.pool.database.driver.needs_ping:
            return lifetime
        return min(after, lifetime)

    def empty_record(self) -> TypedRecord:
        """A record to open a connection in: a shell if there is one."""
        return self.shells.pop() if self.shells else self.pool.new_record(self)

    def shelve(self, record: TypedRecord) -> None:
        """Keep a record without a connection: its identity outlives connections."""
        if len(self.slots.idle) + len(self.shells) < self.slots.limits.kept:
            self.shells.append(record)

    def forget(self, record: TypedRecord, reason: str) -> None:
        """Its connection is no longer the pool's."""
        record.probe = always_alive  # the old one holds the driver's connection
        if record in self.records:
            self.records.discard(record)
            self.tally.closed[reason] += 1

    # ------------------------------------------------------------------- reports

    def gauges(self) -> Gauges:
        slots = self.slots
        return Gauges(
            idle=len(slots.idle),
            in_use=slots.in_use,
            opening=slots.opening,
            busy=slots.validating + slots.closing,
            waiting=len(slots.waiters),
        )

    def holders(self) -> list[Holder]:
        """Who holds a connection, longest first."""
        return self._named(self._out())

    def leaked(self) -> list[Holder]:
        """The same without those whose task was cancelled.

        A loop that ends cancels every task, also the one in which an AsyncSession
        gives back: cancelled before its first step, it never does.
        """
        return self._named(each for each in self._out() if not _was_cancelled(each.borrower()))

    def _named(self, records: Iterable[TypedRecord]) -> list[Holder]:
        now = self.clock()
        held = sorted(records, key=lambda each: each.since or 0.0)
        return [self.holder(record, now) for record in held]

    def _out(self) -> Iterable[TypedRecord]:
        return [record for record in list(self.records) if record.since is not None]

    def holder(self, record: TypedRecord, now: float) -> Holder:
        task = record.borrower()
        where = written(record.site) if record.site is not None else site_of_task(task)
        name = (task.get_name() if task is not None else record.name) or "?"
        since = record.since if record.since is not None else now
        return Holder(task=name, seconds=now - since, where=where)

    def held_by(self, task: object) -> int:
        """How many connections this task has out."""
        if task is None:
            return 0
        return sum(record.borrower() is task for record in self._out())

    def timeout_error(self, stage: str, waited: float, task: object) -> PoolTimeout:
        """The error of a checkout whose deadline has passed: stage, numbers, next step."""
        slots, options, holders = self.slots, self.options, self.holders()
        most = slots.limits.most
        parts = [
            f"no connection within {waited:.2f} s (pool_timeout={self.pool._timeout}), "
            f"while {stage}: {slots.in_use} in use, {len(slots.idle)} idle, "
            f"{slots.opening} connecting, {len(slots.waiters)} waiting, "
            f"max {'unlimited' if most == _NEVER else int(most)}"
        ]
        if holders:
            parts.append(f"held longest by {describe(holders)}")
        if own := self.held_by(task):
            parts.append(
                f"the waiting task itself holds {own} of them (a nested checkout: pass the "
                f"connection on, or enlarge the pool)"
            )
        parts.append(self._next_step(stage, options.pool_leak_threshold is None))
        return PoolTimeout("; ".join(parts), stage=stage, waited=waited, holders=holders)

    def _next_step(self, stage: str, no_sites: bool) -> str:
        if stage == "connecting":
            return "next: look at the server and the network; the last connect error is the cause"
        if stage == "validating":
            return "next: look at the network; the server did not answer a ping"
        hint = " (pool_leak_threshold names their lines)" if no_sites else ""
        return f"next: shorten what the holders do{hint}, or raise pool_size"


def _was_cancelled(task: Task[Any] | None) -> bool:
    return task is not None and task.cancelled()
