"""The log lines of one event loop, except those of outages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from sqla_typedpool.errors import Holder
from sqla_typedpool.pool.call_sites import CallSite
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.holders import (
    MAX_HOLDERS,
    HolderFinder,
    describe_holders,
    fields_of,
    holder_of,
    use_began,
)
from sqla_typedpool.pool.log import LogEvent, counted
from sqla_typedpool.pool.overload import Overload
from sqla_typedpool.pool.pool_state import PoolState
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.slots import Work

# Seconds between two lines of one event, which may occur at each request.
_DIRTY_INTERVAL, _SLOW_INTERVAL, _OVERLOAD_INTERVAL = 60.0, 5.0, 10.0


def _repeated(count: int) -> str:
    """How many events a log line reports, if it is not only one."""
    return f"; {count} since the last such line" if count > 1 else ""


def _describe_sites(sites: Sequence[CallSite]) -> str:
    """The lines at which a task is, the innermost first."""
    lines = [str(site.where) for site in sites if site.where is not None]
    return f" at {', called at '.join(lines)}" if lines else ""


@dataclass(eq=False)
class _LineLimit:
    """Limits the log lines of one event: the next line tells how many there were since the last."""

    # Seconds between two lines.
    interval: float
    _count: int = 0
    # None = there was no line yet.
    _next_at: float | None = None

    def add(self, now: float) -> int:
        """Count one event.

        :return: how many there were since the last line, this one included; 0 = no line yet.
        """
        self._count += 1
        if self._next_at is not None and now < self._next_at:
            return 0
        self._next_at = now + self.interval
        count, self._count = self._count, 0
        return count


@dataclass(eq=False)
class Reports:
    """Writes the log lines of one event loop."""

    shared: Shared
    state: PoolState
    holders: HolderFinder
    _dirty_lines: _LineLimit = field(default_factory=partial(_LineLimit, _DIRTY_INTERVAL))
    _slow_lines: _LineLimit = field(default_factory=partial(_LineLimit, _SLOW_INTERVAL))
    _overload_lines: _LineLimit = field(default_factory=partial(_LineLimit, _OVERLOAD_INTERVAL))
    # The latest one whose beginning was logged.
    _logged_overload: Overload | None = None
    _deadlock_lines: _LineLimit = field(default_factory=partial(_LineLimit, _SLOW_INTERVAL))

    def slow_checkout(self, own: PoolEntry, before: Work, since: float, threshold: float) -> None:
        """A checkout took longer than ``pool_slow_checkout``: one line every five seconds.

        :param own: the entry that it has got.
        :param before: the work on connections when it began to wait.
        """
        count = self._slow_lines.add(self.state.clock())
        if not count:
            return
        waited, stage = self.state.clock() - since, self._longest_stage(before, since)
        others = [each for each in self.holders.in_use() if each is not own]
        holders, now = self.holders.describe(others), self.state.gauges()
        parts = [self.state.occupancy()]
        if holders:
            parts.append(f"held longest by {describe_holders(holders, len(others))}")
        self.shared.log.warning(
            LogEvent.SLOW_CHECKOUT,
            "slow checkout: %.2f s (pool_slow_checkout=%g), most of it %s: %s%s%s; %s",
            waited,
            threshold,
            stage,
            "; ".join(parts),
            self._connect_trouble(since),
            _repeated(count),
            self.state.next_step(stage),
            waited_seconds=waited,
            threshold_seconds=threshold,
            stage=stage,
            **fields_of(holders[0] if holders else None),
            in_use_connections=now.in_use,
            idle_connections=now.idle,
            waiting_callers=now.waiting,
            slow_checkouts=count,
        )

    def overload_began(self, overload: Overload) -> None:
        """Many callers give up, so the newest is served first: one line in ten seconds."""
        count, now = self._overload_lines.add(overload.began_at), self.state.gauges()
        if not count:
            return
        self._logged_overload = overload
        self.shared.log.warning(
            LogEvent.OVERLOAD_BEGAN,
            "overload began: many callers give up before they are served, after %.2f s on average: "
            "%s; the newest is served first until they stop%s; next: reduce the load or shorten "
            "what the holders do, or raise pool_size if the database can do more",
            overload.patience,
            self.state.occupancy(),
            _repeated(count),
            patience_seconds=overload.patience,
            in_use_connections=now.in_use,
            waiting_callers=now.waiting,
            overloads=count,
        )

    def overload_ended(self, overload: Overload) -> None:
        """The oldest caller is served first again; logged if the beginning was."""
        if overload is not self._logged_overload or overload.ended_at is None:
            return
        self._logged_overload, seconds = None, overload.ended_at - overload.began_at
        self.shared.log.warning(
            LogEvent.OVERLOAD_ENDED,
            "overload ended after %.1f s: %s served after a wait, %d gave up after "
            "%.2f s on average; the oldest is served first again; next: if this happens often, "
            "reduce the load, raise pool_size, or set pool_shed_after to refuse callers instead",
            seconds,
            counted(overload.served, "caller"),
            overload.gave_up,
            overload.patience,
            overload_seconds=seconds,
            patience_seconds=overload.patience,
            served_callers=overload.served,
            cancelled_callers=overload.gave_up,
        )

    def _longest_stage(self, before: Work, since: float) -> str:
        """The stage of most of the time since then, for a checkout that has been served."""
        now, work, outage = self.state.clock(), self.state.slots.work, self.state.policy.last_outage
        connecting = work.opening.until(now) - before.opening.until(since)
        validating = work.validating.until(now) - before.validating.until(since)
        # an outage, with the pauses between its attempts
        connecting = max(connecting, min(self.state.policy.outages.seconds(now), now - since))
        if outage is not None:
            began = outage.ended_at - outage.seconds
            connecting = max(connecting, outage.ended_at - max(began, since))
        if max(connecting, validating) < (now - since) / 2:
            return "queueing"
        return "connecting" if connecting >= validating else "validating"

    def _connect_trouble(self, since: float) -> str:
        """What was wrong with connecting since then."""
        outage = self.state.policy.last_outage
        if outage is not None and outage.ended_at >= since:
            return f"; no connection could be opened for {outage.seconds:.2f} s: {outage.error}"
        return "".join(f"; {each}" for each in self.state.last_connect_error())

    def nested_checkout(self, held: Sequence[PoolEntry], sites: Sequence[CallSite]) -> None:
        """A task that holds connections waits for another one.

        :param held: the connections that it holds, at least one.
        :param sites: the lines at which the task is: that of the new checkout, then its callers.
        """
        oldest = min(held, key=use_began)
        holder, now = holder_of(oldest, self.state.clock()), self.state.gauges()
        held_site = oldest.site.where if oldest.site else None
        self.shared.log.warning(
            LogEvent.NESTED_CHECKOUT,
            "nested checkout: %s has held %s for %.2f s%s, and waits for another one%s; if every "
            "holder does so, no one is served; next: use the connection or the session that the "
            "task has, or close it before that line",
            holder.name,
            "a connection" if len(held) == 1 else f"{len(held)} connections",
            holder.seconds,
            f", checked out at {held_site}" if held_site else self.state.sites_hint(),
            _describe_sites(sites),
            holder=holder.name,
            site=sites[0].where if sites else None,
            held_site=held_site,
            held_seconds=holder.seconds,
            held_connections=len(held),
            in_use_connections=now.in_use,
            waiting_callers=now.waiting,
        )

    def deadlock(self) -> None:
        """Each connection was checked out by a task that waits: one line every five seconds."""
        count, timeout = self._deadlock_lines.add(self.state.clock()), self.shared.timeout
        if not count:
            return
        used, limit = self.holders.in_use(), self.shared.timeout_text
        holders = self.holders.describe(used)
        self.shared.log.write(
            logging.ERROR,
            LogEvent.POOL_DEADLOCK,
            "deadlock %s: every connection (%d in use) was checked out by a task that waits for "
            "another one; held longest by %s%s; next: use one connection in each task; a larger "
            "pool_size only makes a deadlock less frequent",
            f"until {limit}" if timeout is not None else f"without an end ({limit})",
            len(used),
            describe_holders(holders, len(used)),
            _repeated(count),
            held_connections=len(used),
            waiting_callers=len(self.state.slots.waiters),
            timeout_seconds=timeout,
            deadlocks=count,
            **fields_of(next(iter(holders), None)),
        )

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
        count = self._dirty_lines.add(self.state.clock())
        if not is_kept and count:
            self._warn_dirty(holder, "is rolled back", count)
        elif is_kept and not self.shared.open_transaction_reported:
            self.shared.open_transaction_reported = True
            self._warn_dirty(holder, "stays open, because of reset_on_return=None", 1)

    def _warn_dirty(self, holder: Holder | None, what_becomes_of_it: str, count: int) -> None:
        what = f"held by {holder} was returned" if holder is not None else "was idle"
        self.shared.log.warning(
            LogEvent.DIRTY_RETURN,
            "dirty return: a connection %s inside a transaction, which %s%s; next: end each "
            "transaction that you begin with the driver's connection or with a cursor of your own, "
            "also in listeners",
            what,
            what_becomes_of_it,
            _repeated(count),
            dirty_returns=count,
            **fields_of(holder),
        )

    def leak(self, entry: PoolEntry, now: float, threshold: float) -> None:
        """A connection has been out for longer than ``pool_leak_threshold``."""
        holder = holder_of(entry, now)
        self.shared.log.warning(
            LogEvent.LEAK,
            "leak: a connection has been out for longer than pool_leak_threshold=%g, held by %s; "
            "next: close the connection or the session at that line, or raise the threshold",
            threshold,
            holder,
            held_seconds=holder.seconds,
            threshold_seconds=threshold,
            **fields_of(holder),
        )

    def leak_returned(self, holder: Holder) -> None:
        """Log the return of a connection that was reported as a leak."""
        self.shared.log.warning(
            LogEvent.LEAK_RETURNED,
            "leak returned: the connection was held by %s",
            holder,
            held_seconds=holder.seconds,
            **fields_of(holder),
        )

    def task_failed(self, error: BaseException) -> None:
        """A task of the pool has failed."""
        text = self.shared.backend.masked(error)
        self.shared.log.write(
            logging.ERROR,
            LogEvent.TASK_FAILED,
            "a task of the pool failed: %s",
            text,
            exc_info=error,
            error=text,
        )

    def loop_blocked(self, seconds: float, threshold: float) -> None:
        """The event loop was blocked: the housekeeper's timer was late."""
        self.shared.log.warning(
            LogEvent.LOOP_BLOCKED,
            "the event loop was blocked for %.1f s, so timeouts came late; "
            "next: find the synchronous call (asyncio debug mode names it)",
            seconds,
            blocked_seconds=seconds,
            threshold_seconds=threshold,
        )

    def closed_by_force(self, seconds: float) -> None:
        """``close()`` did not get every connection back in time."""
        holders, in_use = self.holders.describe(self.holders.in_use()), self.state.slots.in_use
        self.shared.log.warning(
            LogEvent.CLOSED_BY_FORCE,
            "close: %s not returned within %.1f s, closed by force; held by "
            "%s; next: end the holders before close(), or raise its timeout",
            counted(in_use, "connection"),
            seconds,
            describe_holders(holders, in_use, MAX_HOLDERS),
            held_connections=in_use,
            timeout_seconds=seconds,
            **fields_of(holders[0] if holders else None),
        )

    def leaked_at_loop_end(self) -> None:
        """The event loop ends while connections are out, if any are."""
        leaked = self.holders.leaked()
        if leaked:
            holders = self.holders.describe(leaked)
            self.shared.log.warning(
                LogEvent.LEAKED_AT_LOOP_END,
                "leak: the event loop ends before %s returned; held by %s; "
                "next: end the work that holds them before the loop ends",
                "a connection was" if len(leaked) == 1 else f"{len(leaked)} connections were",
                describe_holders(holders, len(leaked), MAX_HOLDERS),
                held_connections=len(leaked),
                **fields_of(holders[0]),
            )
