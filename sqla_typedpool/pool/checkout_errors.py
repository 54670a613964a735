"""The errors of checkouts that do not get a connection."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqla_typedpool._asyncio.time_limit import caller_of
from sqla_typedpool.errors import PoolSaturated, PoolTimeout
from sqla_typedpool.pool.call_limits import CallLimit, WaitReport
from sqla_typedpool.pool.holders import HolderFinder, Holders
from sqla_typedpool.pool.log import counted
from sqla_typedpool.pool.pool_state import PoolState
from sqla_typedpool.pool.shared import Shared

_CLOSED_NEXT = "next: call engine.dispose() to start a new pool"
CLOSED = f"this pool was closed with close(); {_CLOSED_NEXT}"
CLOSED_WHILE_WAITING = f"this pool was closed while the caller waited; {_CLOSED_NEXT}"
LOOP_IS_ENDING = "the event loop is ending, and the pool hands out no more connections in it"

_MIN_RETRY_AFTER, _MAX_RETRY_AFTER = 0.1, 60.0  # seconds


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


@dataclass(eq=False)
class CheckoutErrors:
    """Makes the errors of one event loop."""

    shared: Shared
    state: PoolState
    holders: HolderFinder
    # Seconds until the next connection attempt of an outage; None = it is not scheduled.
    next_attempt_in: Callable[[], float | None]

    def saturated(self, limit: int) -> PoolSaturated:
        """The error of a checkout beyond ``pool_max_waiting``."""
        waiting = len(self.state.slots.waiters)
        parts = [
            f"pool {self.shared.name}: {counted(waiting, 'caller')} waiting for a connection "
            f"already (pool_max_waiting={limit}): {self.state.occupancy()}",
            *self._held_longest(self.holders.now()),
            *self.state.last_connect_error(),
            "next: shed load, or raise pool_size or pool_max_waiting",
        ]
        return PoolSaturated("; ".join(parts), retry_after=self._retry_after(waiting + 1))

    def shed(self, limit: float, waited: float) -> PoolSaturated:
        """The error of a waiter that is refused because of ``pool_shed_after``.

        :param waited: how long it has waited, in seconds.
        """
        parts = [
            f"pool {self.shared.name}: refused after {waited:.2f} s, because callers wait longer "
            f"than pool_shed_after={limit:g}: {self.state.occupancy()}",
            *self._held_longest(self.holders.now()),
            *self.state.last_connect_error(),
            "next: shed load, or raise pool_size or pool_shed_after",
        ]
        retry_after = self._retry_after(len(self.state.slots.waiters))
        return PoolSaturated("; ".join(parts), retry_after=retry_after)

    def timeout(self, checkout: UnservedCheckout) -> PoolTimeout:
        """The error of a checkout whose deadline has passed."""
        limits = self.shared.timeout_text
        if checkout.call is not None:
            limits += f", timeout={checkout.call.seconds:g}"
        report = self._wait_report(checkout, limits)
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
        call.report = self._wait_report(checkout, limits)

    def _wait_report(self, checkout: UnservedCheckout, limits: str) -> WaitReport:
        """Why a checkout that has ended did not get a connection.

        :param limits: the limits of its time, the one that has ended first.
        """
        holders, waited = self.holders.now(), self.state.clock() - checkout.since
        parts = [
            f"pool {self.shared.name}: no connection within {waited:.2f} s ({limits}), "
            f"while {checkout.stage}: {self.state.occupancy()}",
            *self._held_longest(holders),
        ]
        task = caller_of(checkout.task)
        if task is not None and (own := holders.by_task.get(task)):
            parts.append(
                f"the waiting task itself holds {own} of them (a nested checkout: pass the "
                f"connection on, or enlarge the pool)"
            )
        parts += self.state.last_connect_error()
        return WaitReport(
            stage=checkout.stage,
            waited=waited,
            holders=holders.longest,
            connect_error=self.state.policy.last_error,
            retry_after=self._retry_after(len(self.state.slots.waiters) + (not checkout.is_queued)),
            text="; ".join(parts),
            next_step=self.state.next_step(checkout.stage),
        )

    def _held_longest(self, holders: Holders) -> list[str]:
        return [f"held longest by {holders}"] if holders.total else []

    def _retry_after(self, waiting: int) -> float | None:
        """When a retry is sensible: see ``PoolTimeout.retry_after``.

        :param waiting: the callers that wait, with the one that is to retry.
        """
        times, next_return = [self.next_attempt_in()], self.holders.now().next_return
        if next_return is not None:
            times.append(waiting * next_return)
        known = [each for each in times if each is not None]
        return min(max(min(known), _MIN_RETRY_AFTER), _MAX_RETRY_AFTER) if known else None
