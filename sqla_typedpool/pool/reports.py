"""What the pool reports: who holds connections, why a checkout failed or was slow."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqla_typedpool._asyncio.time_limit import caller_of
from sqla_typedpool.errors import Holder, PoolSaturated, PoolTimeout
from sqla_typedpool.pool.call_sites import site_of_task
from sqla_typedpool.pool.connect_policy import ConnectPolicy
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.log import LogEvent
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.stats import Gauges
from sqla_typedpool.secrets import mask_secrets

CLOSED = "this pool was closed with close(); engine.dispose() starts a new one"
CLOSED_WHILE_WAITING = "this pool was closed while you waited"
_DIRTY_INTERVAL = 60.0  # seconds between two lines about dirty returns
LOOP_IS_ENDING = "the event loop is ending, and the pool hands out nothing more in it"


def describe_holders(holders: Sequence[Holder], limit: int = 3) -> str:
    """The longest holders in one line."""
    shown = "; ".join(str(holder) for holder in holders[:limit])
    rest = len(holders) - limit
    return shown + (f"; and {rest} more" if rest > 0 else "")


def _fields_of(holder: Holder | None) -> dict[str, Any]:
    """The fields of a log record that name a holder, of several the longest."""
    if holder is None:
        return {"holder": None, "site": None}
    return {"holder": holder.name, "site": holder.where}


def holder_of(entry: PoolEntry, now: float) -> Holder:
    """Who holds this entry."""
    task = caller_of(entry.borrower())
    site = entry.site if entry.site is not None else site_of_task(task)
    where, query = (None, None) if site is None else (site.where, site.query)
    name = (task.get_name() if task is not None else entry.task_name) or "?"
    since = entry.checked_out_at if entry.checked_out_at is not None else now
    return Holder(name, now - since, where, entry.label, query)


@dataclass(eq=False)
class Reports:
    """The reports of one event loop."""

    shared: Shared
    slots: Slots[PoolEntry]
    entries: set[PoolEntry]
    policy: ConnectPolicy
    clock: Callable[[], float]
    # Dirty returns since the last line about them, and when the next line may be written.
    _dirty_returns: int = 0
    _next_dirty_line: float = 0.0

    def gauges(self) -> Gauges:
        """The present numbers."""
        slots = self.slots
        busy = slots.reserved + slots.validating + slots.closing
        outages, now = self.policy.outages, self.clock()
        return Gauges(
            len(slots.idle),
            slots.in_use,
            slots.opening,
            len(slots.waiters),
            busy,
            outages.seconds(now),
            outages.last_error_text,
        )

    # ------------------------------------------------------------------- holders

    def _in_use(self) -> list[PoolEntry]:
        # a copy, since the garbage collector may return one meanwhile
        return [entry for entry in list(self.entries) if entry.checked_out_at is not None]

    def _describe(self, entries: list[PoolEntry]) -> list[Holder]:
        now = self.clock()
        return [
            holder_of(each, now) for each in sorted(entries, key=lambda e: e.checked_out_at or 0.0)
        ]

    def holders(self) -> list[Holder]:
        """Who holds a connection, the longest first."""
        return self._describe(self._in_use())

    def leaked(self) -> list[Holder]:
        """The same without those whose task was cancelled.

        A loop that ends cancels every task, also one in which an ``AsyncSession`` returns
        its connection: cancelled before its first step, it never does.
        """
        tasks = [(each, each.borrower()) for each in self._in_use()]
        return self._describe([each for each, task in tasks if not (task and task.cancelled())])

    # -------------------------------------------------------------------- errors

    def saturated_error(self, limit: int) -> PoolSaturated:
        """The error of a checkout beyond ``pool_max_waiting``."""
        waiting, in_use = len(self.slots.waiters), self.slots.in_use
        return PoolSaturated(
            f"{waiting} callers wait for a connection already (pool_max_waiting={limit}); "
            f"{in_use} in use; next: shed load, or raise pool_size or pool_max_waiting"
        )

    def timeout_error(self, stage: str, since: float, task: Task[Any] | None) -> PoolTimeout:
        """The error of a checkout whose deadline has passed: stage, numbers, next step."""
        holders, waited = self.holders(), self.clock() - since
        parts = [
            f"no connection within {waited:.2f} s (pool_timeout={self.shared.timeout}), "
            f"while {stage}: {self._occupancy()}"
        ]
        if holders:
            parts.append(f"held longest by {describe_holders(holders)}")
        if own := self._held_by(caller_of(task)):
            parts.append(
                f"the waiting task itself holds {own} of them (a nested checkout: pass the "
                f"connection on, or enlarge the pool)"
            )
        parts.append(self._next_step(stage))
        error = PoolTimeout("; ".join(parts), stage=stage, waited=waited, holders=holders)
        error.__cause__ = self.policy.last_error
        return error

    def _held_by(self, task: Task[Any] | None) -> int:
        if task is None:
            return 0
        return sum(caller_of(each.borrower()) is task for each in self._in_use())

    def _occupancy(self) -> str:
        limit, now = self.slots.limits.max_total, self.gauges()
        return (
            f"{now.in_use} in use, {now.idle} idle, {now.connecting} connecting, {now.waiting} "
            f"waiting, max {'unlimited' if limit == float('inf') else int(limit)}"
        )

    def _next_step(self, stage: str) -> str:
        if stage == "connecting":
            return "next: check the server and the network; the last connect error is the cause"
        if stage == "validating":
            return "next: check the network; the server did not answer a ping"
        has_sites = self.shared.options.pool_leak_threshold is not None
        hint = "" if has_sites else " (pool_leak_threshold names their lines)"
        return f"next: shorten what the holders do{hint}, or raise pool_size"

    # ----------------------------------------------------------------- log lines

    def slow_checkout(self, since: float, now: float, threshold: float) -> None:
        """A checkout took longer than ``pool_slow_checkout``."""
        self.shared.log.warning(
            LogEvent.SLOW_CHECKOUT,
            "slow checkout: %.2f s (threshold %.2f s); %d in use, %d connecting, %d waiting%s",
            now - since,
            threshold,
            self.slots.in_use,
            self.slots.opening,
            len(self.slots.waiters),
            self._connect_trouble(since),
            waited_seconds=now - since,
            threshold_seconds=threshold,
        )

    def _connect_trouble(self, since: float) -> str:
        """What was wrong with connecting since then."""
        outage, error = self.policy.last_outage, self.policy.last_error
        if outage is not None and outage.ended_at >= since:
            why = mask_secrets(outage.error)
            return f"; no connection could be opened for {outage.seconds:.2f} s: {why}"
        return "" if error is None else f"; last connect error: {self.shared.backend.masked(error)}"

    def failover(self, mode: object, old: object) -> None:
        """A server has become read-only."""
        self.shared.log.warning(
            LogEvent.FAILOVER,
            "failover: the server's read-only mode is %r, and was %r when this connection was "
            "opened; connections opened before the change are replaced",
            mode,
            old,
        )

    def dirty_return(self, holder: Holder | None, *, is_kept: bool) -> None:
        """A connection was returned inside a transaction: one line per minute.

        :param holder: None = the transaction was begun while the connection was idle.
        :param is_kept: the transaction stays open (``reset_on_return=None``): one line per pool.
        """
        self._dirty_returns += 1
        now = self.clock()
        if is_kept:
            if not self.shared.open_transaction_reported:
                self.shared.open_transaction_reported = True
                self._warn_dirty(holder, "stays open, because of reset_on_return=None")
        elif now >= self._next_dirty_line:
            self._next_dirty_line = now + _DIRTY_INTERVAL
            self._warn_dirty(holder, "is rolled back")

    def _warn_dirty(self, holder: Holder | None, what_becomes_of_it: str) -> None:
        count, self._dirty_returns = self._dirty_returns, 0
        what = f"was returned by {holder}" if holder is not None else "was idle"
        self.shared.log.warning(
            LogEvent.DIRTY_RETURN,
            "dirty return: a connection %s inside a transaction, which %s; %d since the last such "
            "line; next: end each transaction that you begin with the driver's connection or with "
            "a cursor of your own, also in listeners",
            what,
            what_becomes_of_it,
            count,
            dirty_returns=count,
            holder=None if holder is None else holder.name,
            site=None if holder is None else holder.where,
        )

    def leak(self, entry: PoolEntry, now: float, threshold: float) -> None:
        """A connection has been out for longer than ``pool_leak_threshold``."""
        holder = holder_of(entry, now)
        self.shared.log.warning(
            LogEvent.LEAK,
            "leak: a connection has been out for %.1f s (pool_leak_threshold=%g), held by %s",
            holder.seconds,
            threshold,
            holder,
            held_seconds=holder.seconds,
            threshold_seconds=threshold,
            **_fields_of(holder),
        )

    def leak_returned(self, holder: Holder) -> None:
        """Log the return of a connection that was reported as a leak."""
        self.shared.log.warning(
            LogEvent.LEAK_RETURNED,
            "leak: a connection held by %s was returned after %.1f s",
            holder.name,
            holder.seconds,
            held_seconds=holder.seconds,
            **_fields_of(holder),
        )

    def loop_blocked(self, seconds: float, threshold: float) -> None:
        """The event loop was blocked: the housekeeper's timer was late."""
        self.shared.log.warning(
            LogEvent.LOOP_BLOCKED,
            "the event loop was blocked for %.1f s: timeouts and connections suffer; "
            "next: find the synchronous call (asyncio debug mode names it)",
            seconds,
            blocked_seconds=seconds,
            threshold_seconds=threshold,
        )

    def closed_by_force(self, seconds: float) -> None:
        """``close()`` did not get every connection back in time."""
        holders, in_use = self.holders(), self.slots.in_use
        self.shared.log.warning(
            LogEvent.CLOSED_BY_FORCE,
            "close: %d connections were still out after %.1f s and are closed by force; held by %s",
            in_use,
            seconds,
            describe_holders(holders, limit=in_use),
            held_connections=in_use,
            timeout_seconds=seconds,
            **_fields_of(holders[0] if holders else None),
        )

    def leaked_at_loop_end(self) -> None:
        """The event loop ends while connections are out, if any are."""
        if leaked := self.leaked():
            self.shared.log.warning(
                LogEvent.LEAKED_AT_LOOP_END,
                "leak: the event loop ends while %d connections are out; held by %s",
                len(leaked),
                describe_holders(leaked, limit=len(leaked)),
                held_connections=len(leaked),
                **_fields_of(leaked[0]),
            )
