"""How connections of one event loop end together: replaced, disposed, drained, loop closed.

Functions over a ``LoopPool``, called in its loop, except ``on_loop_closed``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqla_typedpool.pool.backend import CloseMode
from sqla_typedpool.pool.checkout_errors import (
    CLOSED,
    CLOSED_WHILE_WAITING,
    LOOP_IS_ENDING,
)
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.loop_pool import LoopPool
from sqla_typedpool.pool.stats import CloseReason

# Seconds for an ending loop's other asynchronous generators to return what they hold:
# they are being closed at the same time.
_LAST_RETURNS = 1.0


def retire_all(pool: LoopPool) -> None:
    """Replace every connection: idle ones now, the others on return."""
    _start_generation(pool, CloseReason.LIFETIME)
    _close_evicted(pool)


def evict(pool: LoopPool, predicate: Callable[[PoolEntry], bool]) -> None:
    """Replace connections opened before a failover: idle ones now, the others on return."""
    for entry in filter(predicate, list(pool.entries)):
        entry.evict(CloseReason.FAILOVER)
    _close_evicted(pool)


def dispose(pool: LoopPool) -> None:
    """Close the idle connections now, and those in use when they are returned.

    Connections being opened are given up, unless a waiter needs one.
    """
    pool.is_disposed = True
    _start_generation(pool, CloseReason.DISPOSE)
    if not pool.queue.still_waiting(1):
        pool.queue.stop_timer()
        pool.connector.abandon_all()
    pool.empty_entries.clear()
    # in a loop that does not run a graceful close could not be awaited
    _close_evicted(pool, CloseMode.GRACEFUL if pool.loop.is_running() else CloseMode.ABORT)


async def wait_disposed(pool: LoopPool, seconds: float) -> None:
    """Wait until nothing is open that nobody uses or waits for, at most so long."""
    first = () if pool.queue.still_waiting(1) else ("connect", "ping", "rollback", "kill")
    await pool.tasks.wait_closed(seconds, first)


def stop_accepting(pool: LoopPool) -> None:
    """Hand out nothing more; waiters get ``PoolClosed`` at once."""
    _start_generation(pool, CloseReason.CLOSE)
    _refuse(pool, CLOSED, while_waiting=CLOSED_WHILE_WAITING)
    pool.empty_entries.clear()
    _close_evicted(pool)


def _refuse(pool: LoopPool, why: str, *, while_waiting: str | None = None) -> None:
    pool.refusal = why
    pool.connector.stop()
    pool.queue.fail_all(pool.shared.closed_error(while_waiting or why))
    pool.queue.stop_timer()


async def drain(pool: LoopPool, seconds: float) -> None:
    """Wait for every connection that is in use; abort those that are not returned in time."""
    await _wait_for_returns(pool, seconds)
    await _wait_for_failures(pool)
    if pool.slots.in_use:
        _abort_all(pool, CloseReason.CLOSE, lambda: pool.reports.closed_by_force(seconds))
    await pool.tasks.wait_all(pool.shared.options.pool_reset_timeout)


async def _wait_for_returns(pool: LoopPool, seconds: float) -> None:
    deadline = pool.clock() + seconds
    while pool.slots.in_use and (left := deadline - pool.clock()) > 0:
        await asyncio.wait({pool.next_return()}, timeout=left)


async def _wait_for_failures(pool: LoopPool) -> None:
    """Wait until every waiter has its error: they get it a part in each turn of the loop."""
    while pool.queue.is_failing:
        await asyncio.sleep(0)


async def on_loop_ending(pool: LoopPool) -> None:
    """The loop is about to close: leave nothing open in it."""
    _start_generation(pool, CloseReason.LOOP)
    pool.is_disposed = True
    pool.empty_entries.clear()
    _close_evicted(pool)
    await _wait_for_returns(pool, _LAST_RETURNS)
    _refuse(pool, LOOP_IS_ENDING)
    await _wait_for_failures(pool)
    await pool.tasks.wait_all(pool.shared.options.pool_reset_timeout)
    leaked = [each for each in pool.holders.leaked() if not each.is_leak_reported]
    pool.counters.leaks += len(leaked)
    _abort_all(pool, CloseReason.LOOP, pool.reports.leaked_at_loop_end)
    # a thread that closes one reports its end to the loop
    await pool.tasks.wait_closed(pool.shared.options.pool_reset_timeout)
    pool.tasks.cancel()
    await asyncio.sleep(0)  # transports report their end one turn later


def on_loop_closed(pool: LoopPool) -> None:
    """The loop was closed without notice: release its sockets, without I/O."""
    for entry in list(pool.entries):
        pool.untrack(entry, CloseReason.LOOP)
        _release(pool, entry)
    # After SQLAlchemy has connected it, its listeners run, and the pool queries its server. What
    # they do at the end of their task must find it closed.
    for entry in pool.connector.entries_being_opened():
        _release(pool, entry)
    pool.tasks.forget()


def _release(pool: LoopPool, entry: PoolEntry) -> None:
    connection = entry.detach_connection()
    if connection is not None:
        pool.shared.backend.release(connection)


def _start_generation(pool: LoopPool, reason: CloseReason) -> None:
    """Evict every connection, and those being opened as soon as they are open."""
    pool.connector.generation += 1
    pool.ends_as = reason
    for entry in list(pool.entries):  # a copy: the garbage collector may return one
        entry.evict(reason)


def _close_evicted(pool: LoopPool, mode: CloseMode = CloseMode.GRACEFUL) -> None:
    """Close the idle entries that are evicted."""
    for entry in list(reversed(pool.slots.idle)):  # the latest first, as the stock pool does
        if entry.evicted is not None and pool.slots.reserve(entry):
            pool.close_entry(entry, entry.evicted, mode)


def _abort_all(pool: LoopPool, reason: CloseReason, report: Callable[[], None]) -> None:
    """Abort every connection, after the report that names their holders."""
    try:
        report()
    finally:  # a log handler may raise
        for entry in list(pool.entries):
            pool.abort_entry(entry, reason)
