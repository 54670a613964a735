"""The present state of one event loop's part of the pool, as numbers and as parts of messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqla_typedpool.pool.connect_policy import ConnectPolicy
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.options import ResolvedOptions
from sqla_typedpool.pool.slots import Slots
from sqla_typedpool.pool.stats import Gauges

_MAX_ERROR = 300  # characters of a connect error in a message


@dataclass(eq=False)
class PoolState:
    """What errors and log lines have in common: the numbers, the last error, the next step."""

    options: ResolvedOptions
    slots: Slots[PoolEntry]
    policy: ConnectPolicy
    clock: Callable[[], float]

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

    def occupancy(self) -> str:
        """How many connections are in each state, and how many callers wait."""
        limit, now = self.slots.limits.max_total, self.gauges()
        return (
            f"{now.in_use} in use, {now.idle} idle, {now.connecting} connecting, {now.waiting} "
            f"waiting, max {'unlimited' if limit == float('inf') else int(limit)}"
        )

    def last_connect_error(self) -> list[str]:
        """The latest connect error as a part of a message; none since the latest success."""
        text = self.policy.outages.last_error_text
        if text is None:
            return []
        shown = text if len(text) <= _MAX_ERROR else f"{text[:_MAX_ERROR]}..."
        return [f"last connect error: {shown}"]

    def next_step(self, stage: str) -> str:
        """What to do about checkouts that take long in this stage."""
        if stage == "connecting":
            return "next: check the server and the network"
        if stage == "validating":
            return "next: check the network; the server did not answer a ping"
        hint = self.sites_hint("they were")
        return f"next: shorten what the holders do{hint}, or raise pool_size"

    def sites_hint(self, subject: str = "it was") -> str:
        """How to find the lines of checkouts, if the pool does not note them."""
        has_sites = self.options.pool_leak_threshold is not None
        return "" if has_sites else f" (set pool_leak_threshold to see where {subject} checked out)"
