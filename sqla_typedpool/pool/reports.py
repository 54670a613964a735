"""What the pool reports: who holds connections, why a checkout failed or was slow."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, Task
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from sqla_typedpool._asyncio.time_limit import caller_of
from sqla_typedpool.errors import Holder, PoolSaturated, PoolTimeout
from sqla_typedpool.pool.call_limits import CallLimit, WaitReport
from sqla_typedpool.pool.call_sites import CallSite, site_of_task
from sqla_typedpool.pool.connect_policy import ConnectPolicy
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.log import LogEvent
from sqla_typedpool.pool.overload import Overload
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.slots import Slots, Work
from sqla_typedpool.pool.stats import Counters, Gauges

_CLOSED_NEXT = "next: call engine.dispose() to start a new pool"
CLOSED = f"this pool was closed with close(); {_CLOSED_NEXT}"
CLOSED_WHILE_WAITING = f"this pool was closed while the caller waited; {_CLOSED_NEXT}"
LOOP_IS_ENDING = "the event loop is ending, and the pool hands out no more connections in it"

# Seconds between two lines of one event, which may occur at each request.
_DIRTY_INTERVAL, _SLOW_INTERVAL, _OVERLOAD_INTERVAL = 60.0, 5.0, 10.0
_MAX_ERROR = 300  # characters of a connect error in a message
_MAX_HOLDERS = 20  # that an error or a log line names
_MIN_RETRY_AFTER, _MAX_RETRY_AFTER = 0.1, 60.0  # seconds


def describe_holders(holders: Sequence[Holder], total: int, limit: int = 3) -> str:
    """The longest holders in one line.

    :param total: how many holders there are.
    """
    shown = holders[:limit]
    rest = total - len(shown)
    return "; ".join(map(str, shown)) + (f"; and {rest} more" if rest > 0 else "")


def _repeated(count: int) -> str:
    """How many events a log line reports, if it is not only one."""
    return f"; {count} since the last such line" if count > 1 else ""


def _describe_sites(sites: Sequence[CallSite]) -> str:
    """The lines at which a task is, the innermost first."""
    lines = [str(site.where) for site in sites if site.where is not None]
    return f" at {', called at '.join(lines)}" if lines else ""


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


class UnservedCheckout(NamedTuple):
    """A checkout that has ended without a connection."""

    stage: str
    since: float
    # that waits
    task: Task[Any] | None
    # the call with a ``timeout=`` that it is a part of
    call: CallLimit | None
    # whether it is counted among the waiters
    is_queued: bool = True


def _use_began(entry: PoolEntry) -> float:
    return entry.checked_out_at or 0.0


@dataclass(frozen=True)
class Holders:
    """Who holds connections at one moment: what the errors of that moment have in common."""

    # Checkouts so far, and connections in use: other numbers, other holders.
    uses: tuple[int, int]
    # The longest first, at most ``_MAX_HOLDERS``.
    longest: tuple[Holder, ...]
    # How many connections are held.
    total: int
    # How many of them each task holds.
    by_task: Mapping[Task[Any] | None, int]
    # Seconds until the next one of them is returned, on average; None = none is held.
    next_return: float | None

    def __str__(self) -> str:
        return describe_holders(self.longest, self.total)


@dataclass(eq=False)
class Reports:
    """The reports of one event loop."""

    shared: Shared
    loop: AbstractEventLoop
    slots: Slots[PoolEntry]
    entries: set[PoolEntry]
    policy: ConnectPolicy
    clock: Callable[[], float]
    counters: Counters
    # Seconds until the next connection attempt of an outage; None = it is not scheduled.
    next_attempt_in: Callable[[], float | None]
    _dirty_lines: _LineLimit = field(default_factory=partial(_LineLimit, _DIRTY_INTERVAL))
    _slow_lines: _LineLimit = field(default_factory=partial(_LineLimit, _SLOW_INTERVAL))
    _overload_lines: _LineLimit = field(default_factory=partial(_LineLimit, _OVERLOAD_INTERVAL))
    # The latest one whose beginning was logged.
    _logged_overload: Overload | None = None
    _deadlock_lines: _LineLimit = field(default_factory=partial(_LineLimit, _SLOW_INTERVAL))
    _holders: Holders | None = field(default=None, init=False)  # in this turn of the loop

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

    def _describe(
        self, entries: list[PoolEntry], limit: int | None = _MAX_HOLDERS
    ) -> tuple[Holder, ...]:
        """The longest holders of these entries; None = all."""
        now, longest = self.clock(), sorted(entries, key=_use_began)[:limit]
        return tuple(holder_of(each, now) for each in longest)

    def holders(self) -> list[Holder]:
        """Who holds a connection, the longest first."""
        return list(self._describe(self._in_use(), limit=None))

    def _leaked(self) -> list[PoolEntry]:
        """The entries in use without those whose task was cancelled.

        A loop that ends cancels every task, also one in which an ``AsyncSession`` returns
        its connection: cancelled before its first step, it never does.
        """
        tasks = [(each, each.borrower()) for each in self._in_use()]
        return [each for each, task in tasks if not (task and task.cancelled())]

    def _holders_now(self) -> Holders:
        """The holders, listed once for the checkouts that fail in one turn of the loop."""
        uses = self.counters.checkouts, self.slots.in_use
        if self._holders is None or self._holders.uses != uses:
            if self._holders is None and not self.loop.is_closed():
                self.loop.call_soon(self._forget_holders, context=Context())
            self._holders = self._find_holders(uses)
        return self._holders

    def _forget_holders(self) -> None:
        self._holders = None

    def _find_holders(self, uses: tuple[int, int]) -> Holders:
        now, used = self.clock(), self._in_use()
        return Holders(
            uses,
            self._describe(used),
            len(used),
            Counter(caller_of(each.borrower()) for each in used),
            self._next_return(used, now),
        )

    def _next_return(self, used: list[PoolEntry], now: float) -> float | None:
        if not used:
            return None
        mean_age = sum(now - _use_began(each) for each in used) / len(used)
        return max(self.counters.mean_use(), mean_age) / len(used)

    # -------------------------------------------------------------------- errors

    def saturated_error(self, limit: int) -> PoolSaturated:
        """The error of a checkout beyond ``pool_max_waiting``."""
        waiting = len(self.slots.waiters)
        parts = [
            f"pool {self.shared.name}: {waiting} callers wait for a connection already "
            f"(pool_max_waiting={limit}): {self._occupancy()}",
            *self._held_longest(self._holders_now()),
            *self._last_connect_error(),
            "next: shed load, or raise pool_size or pool_max_waiting",
        ]
        return PoolSaturated("; ".join(parts), retry_after=self._retry_after(waiting + 1))

    def shed_error(self, limit: float, waited: float) -> PoolSaturated:
        """The error of a waiter that is refused because of ``pool_shed_after``.

        :param waited: how long it has waited, in seconds.
        """
        parts = [
            f"pool {self.shared.name}: refused after {waited:.2f} s, because callers wait longer "
            f"than pool_shed_after={limit:g}: {self._occupancy()}",
            *self._held_longest(self._holders_now()),
            *self._last_connect_error(),
            "next: shed load, or raise pool_size or pool_shed_after",
        ]
        retry_after = self._retry_after(len(self.slots.waiters))
        return PoolSaturated("; ".join(parts), retry_after=retry_after)

    def timeout_error(self, checkout: UnservedCheckout) -> PoolTimeout:
        """The error of a checkout whose deadline has passed."""
        limits = self.shared.timeout_text
        if checkout.call is not None:
            limits += f", timeout={checkout.call.seconds:g}"
        report = self.wait_report(checkout, limits)
        error = PoolTimeout(
            f"{report.text}; {report.next_step}",
            stage=report.stage,
            waited=report.waited,
            holders=report.holders,
            retry_after=report.retry_after,
        )
        error.__cause__ = report.connect_error
        return error

    def leave_report(self, checkout: UnservedCheckout, call: CallLimit) -> None:
        """Report to a call, whose time has ended, why its checkout was not served."""
        limits = f"timeout={call.seconds:g}, {self.shared.timeout_text}"
        call.report = self.wait_report(checkout, limits)

    def wait_report(self, checkout: UnservedCheckout, limits: str) -> WaitReport:
        """Why a checkout that has ended did not get a connection.

        :param limits: the limits of its time, the one that has ended first.
        """
        holders, waited = self._holders_now(), self.clock() - checkout.since
        parts = [
            f"pool {self.shared.name}: no connection within {waited:.2f} s ({limits}), "
            f"while {checkout.stage}: {self._occupancy()}",
            *self._held_longest(holders),
        ]
        task = caller_of(checkout.task)
        if task is not None and (own := holders.by_task.get(task)):
            parts.append(
                f"the waiting task itself holds {own} of them (a nested checkout: pass the "
                f"connection on, or enlarge the pool)"
            )
        parts += self._last_connect_error()
        return WaitReport(
            stage=checkout.stage,
            waited=waited,
            holders=holders.longest,
            connect_error=self.policy.last_error,
            retry_after=self._retry_after(len(self.slots.waiters) + (not checkout.is_queued)),
            text="; ".join(parts),
            next_step=self._next_step(checkout.stage),
        )

    def _occupancy(self) -> str:
        limit, now = self.slots.limits.max_total, self.gauges()
        return (
            f"{now.in_use} in use, {now.idle} idle, {now.connecting} connecting, {now.waiting} "
            f"waiting, max {'unlimited' if limit == float('inf') else int(limit)}"
        )

    def _held_longest(self, holders: Holders) -> list[str]:
        return [f"held longest by {holders}"] if holders.total else []

    def _last_connect_error(self) -> list[str]:
        error = self.policy.last_error
        if error is None:
            return []
        text = self.shared.backend.masked(error)
        shown = text if len(text) <= _MAX_ERROR else f"{text[:_MAX_ERROR]}..."
        return [f"last connect error: {shown}"]

    def _next_step(self, stage: str) -> str:
        if stage == "connecting":
            return "next: check the server and the network"
        if stage == "validating":
            return "next: check the network; the server did not answer a ping"
        hint = self._sites_hint("their lines")
        return f"next: shorten what the holders do{hint}, or raise pool_size"

    def _sites_hint(self, lines: str = "its line") -> str:
        """How to find the lines of checkouts, where the pool does not note them."""
        has_sites = self.shared.options.pool_leak_threshold is not None
        return "" if has_sites else f" (pool_leak_threshold names {lines})"

    def _retry_after(self, waiting: int) -> float | None:
        """When a retry is sensible: see ``PoolTimeout.retry_after``.

        :param waiting: the callers that wait, with the one that is to retry.
        """
        times, next_return = [self.next_attempt_in()], self._holders_now().next_return
        if next_return is not None:
            times.append(waiting * next_return)
        known = [each for each in times if each is not None]
        return min(max(min(known), _MIN_RETRY_AFTER), _MAX_RETRY_AFTER) if known else None

    # ----------------------------------------------------------------- log lines

    def slow_checkout(self, own: PoolEntry, before: Work, since: float, threshold: float) -> None:
        """A checkout took longer than ``pool_slow_checkout``: one line every five seconds.

        :param own: the entry that it has got.
        :param before: the work on connections when it began to wait.
        """
        count = self._slow_lines.add(self.clock())
        if not count:
            return
        waited, stage = self.clock() - since, self._longest_stage(before, since)
        others = [each for each in self._in_use() if each is not own]
        holders, now = self._describe(others), self.gauges()
        parts = [self._occupancy()]
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
            self._next_step(stage),
            waited_seconds=waited,
            threshold_seconds=threshold,
            stage=stage,
            **_fields_of(holders[0] if holders else None),
            in_use_connections=now.in_use,
            idle_connections=now.idle,
            waiting_callers=now.waiting,
            slow_checkouts=count,
        )

    def overload_began(self, overload: Overload) -> None:
        """Many callers give up, so the newest is served first: one line in ten seconds."""
        count, now = self._overload_lines.add(overload.began_at), self.gauges()
        if not count:
            return
        self._logged_overload = overload
        self.shared.log.warning(
            LogEvent.OVERLOAD_BEGAN,
            "overload began: many callers give up before they are served, after %.2f s on average: "
            "%s; the newest is served first until they stop%s; next: reduce the load or shorten "
            "what the holders do, or raise pool_size if the database can do more",
            overload.patience,
            self._occupancy(),
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
            "overload ended after %.1f s: %d callers that waited were served, %d gave up, after "
            "%.2f s on average; the oldest is served first again; next: if this happens often, "
            "reduce the load, raise pool_size, or set pool_shed_after to refuse callers instead",
            seconds,
            overload.served,
            overload.gave_up,
            overload.patience,
            overload_seconds=seconds,
            patience_seconds=overload.patience,
            served_callers=overload.served,
            cancelled_callers=overload.gave_up,
        )

    def _longest_stage(self, before: Work, since: float) -> str:
        """The stage of most of the time since then, for a checkout that has been served."""
        now, work, outage = self.clock(), self.slots.work, self.policy.last_outage
        connecting = work.opening.until(now) - before.opening.until(since)
        validating = work.validating.until(now) - before.validating.until(since)
        # an outage, with the pauses between its attempts
        connecting = max(connecting, min(self.policy.outages.seconds(now), now - since))
        if outage is not None:
            began = outage.ended_at - outage.seconds
            connecting = max(connecting, outage.ended_at - max(began, since))
        if max(connecting, validating) < (now - since) / 2:
            return "queueing"
        return "connecting" if connecting >= validating else "validating"

    def _connect_trouble(self, since: float) -> str:
        """What was wrong with connecting since then."""
        outage = self.policy.last_outage
        if outage is not None and outage.ended_at >= since:
            return f"; no connection could be opened for {outage.seconds:.2f} s: {outage.error}"
        return "".join(f"; {each}" for each in self._last_connect_error())

    def nested_checkout(self, held: Sequence[PoolEntry], sites: Sequence[CallSite]) -> None:
        """A task that holds connections waits for another one.

        :param held: the connections that it holds, at least one.
        :param sites: the lines at which the task is: that of the new checkout, then its callers.
        """
        oldest = min(held, key=_use_began)
        holder, now = holder_of(oldest, self.clock()), self.gauges()
        held_site = oldest.site.where if oldest.site else None
        self.shared.log.warning(
            LogEvent.NESTED_CHECKOUT,
            "nested checkout: %s has held %s for %.2f s%s, and waits for another one%s; if every "
            "holder does so, no one is served; next: use the connection or the session that the "
            "task has, or close it before that line",
            holder.name,
            "a connection" if len(held) == 1 else f"{len(held)} connections",
            holder.seconds,
            f", checked out at {held_site}" if held_site else self._sites_hint(),
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
        count, timeout = self._deadlock_lines.add(self.clock()), self.shared.timeout
        if not count:
            return
        used, limit = self._in_use(), self.shared.timeout_text
        holders = self._describe(used)
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
            waiting_callers=len(self.slots.waiters),
            timeout_seconds=timeout,
            deadlocks=count,
            **_fields_of(next(iter(holders), None)),
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
        count = self._dirty_lines.add(self.clock())
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
            **_fields_of(holder),
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
            **_fields_of(holder),
        )

    def leak_returned(self, holder: Holder) -> None:
        """Log the return of a connection that was reported as a leak."""
        self.shared.log.warning(
            LogEvent.LEAK_RETURNED,
            "leak returned: the connection was held by %s",
            holder,
            held_seconds=holder.seconds,
            **_fields_of(holder),
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
        holders, in_use = self._describe(self._in_use()), self.slots.in_use
        self.shared.log.warning(
            LogEvent.CLOSED_BY_FORCE,
            "close: %d connections were still out after %.1f s and are closed by force; held by "
            "%s; next: end the holders before close(), or raise its timeout",
            in_use,
            seconds,
            describe_holders(holders, in_use, _MAX_HOLDERS),
            held_connections=in_use,
            timeout_seconds=seconds,
            **_fields_of(holders[0] if holders else None),
        )

    def leaked_at_loop_end(self) -> None:
        """The event loop ends while connections are out, if any are."""
        leaked = self._leaked()
        if leaked:
            holders = self._describe(leaked)
            self.shared.log.warning(
                LogEvent.LEAKED_AT_LOOP_END,
                "leak: the event loop ends while %d connections are out; held by %s; "
                "next: end the work that holds them before the loop ends",
                len(leaked),
                describe_holders(holders, len(leaked), _MAX_HOLDERS),
                held_connections=len(leaked),
                **_fields_of(holders[0]),
            )
