"""The live data of `PoolMonitor`: made once a second, whatever the number of viewers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.pool.log import LOGGER
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.pool.stats import Distribution, PoolStats

_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PERIOD: Final = 1.0  # seconds between two states
_STREAM_SECONDS: Final = 15.0
_WINDOW: Final = 60  # states over which quantiles and rates are computed
_MOST_HOLDERS: Final = 20
_MOST_EVENTS: Final = 50
_QUANTILES: Final = (0.5, 0.95, 0.99)
_QUIET = frozenset(("close_failed", "kill_failed", "task_failed"))


class EventLog(logging.Handler):
    """Keeps the latest events of the pools' log.

    :param engines: the engines whose pools' events are kept.
    """

    def __init__(self, engines: Sequence[AsyncEngine]) -> None:
        super().__init__(logging.INFO)
        self._engines = engines
        self.events: deque[dict[str, Any]] = deque(maxlen=_MOST_EVENTS)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the event of a record; the logger calls it."""
        event, pool = getattr(record, "event", None), getattr(record, "pool", None)
        if event is None or event in _QUIET or pool not in self._names():
            return
        self.events.append(
            {
                "time": record.created,
                "level": record.levelname,
                "event": event,
                "pool": pool,
                "message": record.getMessage(),
            }
        )

    def _names(self) -> set[str]:
        return {TypedPool.of(each).shared.name for each in self._engines}


class LiveData:
    """The states of some pools, one a second while there are viewers.

    It belongs to one event loop.
    """

    def __init__(self, engines: Sequence[AsyncEngine], log: EventLog) -> None:
        self._engines = engines
        self._log = log
        self._viewers = 0
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Future[bytes] | None = None
        self._past: deque[Mapping[str, PoolStats]] = deque(maxlen=_WINDOW + 1)
        # How many states have been made.
        self.made = 0

    @asynccontextmanager
    async def viewer(self) -> AsyncIterator[LiveData]:
        """Count a viewer inside the block: states are made while there is one."""
        self._viewers += 1
        if self._task is None or self._task.done():
            self._past.clear()
            self._task = asyncio.ensure_future(self._make_states())
        try:
            yield self
        finally:
            self._viewers -= 1

    async def state(self) -> bytes:
        """Wait for the next state; all viewers get the same bytes."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._next)

    async def _make_states(self) -> None:
        while self._viewers:
            state = self.make_state()
            if self._next is not None and not self._next.done():
                self._next.set_result(state)
            await asyncio.sleep(PERIOD)

    def make_state(self) -> bytes:
        """Return the present state as JSON."""
        self.made += 1
        pools = [TypedPool.of(each) for each in self._engines]
        present = {each.shared.name: each.stats() for each in pools}
        self._past.append(present)
        document = {
            "time": time.time(),
            "pools": [self._pool(each, present[each.shared.name]) for each in pools],
            "events": list(self._log.events)[::-1],
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def _pool(self, pool: TypedPool, stats: PoolStats) -> dict[str, Any]:
        before = self._past[0].get(stats.name, stats)
        seconds = max(len(self._past) - 1, 1) * PERIOD
        holders = pool.holders()
        return {
            "name": stats.name,
            "size": {"max": stats.max, "min": stats.min, "pool_size": pool.options.pool_size},
            "now": {
                name: getattr(stats, name)
                for name in ("in_use", "idle", "connecting", "waiting", "longest_use")
            },
            "is_closed": pool.shared.is_closed,
            "is_overloaded": stats.is_overloaded,
            "outage_seconds": stats.outage_seconds,
            "last_connect_error": stats.last_connect_error,
            "window_seconds": seconds,
            "checkouts_per_second": (stats.checkouts - before.checkouts) / seconds,
            "wait": quantiles(stats.wait_time, before.wait_time),
            "use": quantiles(stats.use_time, before.use_time),
            "totals": {name: getattr(stats, name) for name in _TOTALS},
            "closed": {reason: count for reason, count in stats.closed.items() if count},
            "holders": [asdict(each) for each in holders[:_MOST_HOLDERS]],
            "held": len(holders),
        }


_TOTALS: Final = (
    *("checkouts", "timeouts", "saturated", "shed", "cancelled", "overloads", "leaks"),
    *("connects", "connect_failures", "dirty_returns", "kept_cancelled"),
)


def quantiles(now: Distribution, before: Distribution) -> dict[str, float | None]:
    """Return upper bounds of quantiles of the durations between two snapshots, in seconds.

    :return: None if there were no durations, or if they were longer than the last bound.
    """
    counts = [(bound, now.buckets[bound] - before.buckets[bound]) for bound in now.buckets]
    total = counts[-1][1]
    found: dict[str, float | None] = {}
    for each in _QUANTILES:
        wanted = total * each
        bound = next((bound for bound, count in counts if total and count >= wanted), None)
        found[f"p{each * 100:g}"] = None if bound in (None, float("inf")) else bound
    return found


def watch(owner: object, engines: Sequence[AsyncEngine]) -> EventLog:
    """Keep the events of these pools from now on, as long as the owner exists."""
    handler = EventLog(engines)
    LOGGER.addHandler(handler)
    weakref.finalize(owner, LOGGER.removeHandler, handler)
    return handler


async def stream_events(live: LiveData, receive: _Receive, send: _Send) -> None:
    """Send the states as server-sent events, until the viewer leaves or the time is over.

    The time is limited because servers wait for open responses when they shut down. The
    browser connects again at once.
    """
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # nginx would keep the events back
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.ensure_future(_until_disconnected(receive))
    try:
        async with live.viewer():
            end = time.monotonic() + _STREAM_SECONDS
            await _send_event(send, b"retry: 500\n\n")
            while time.monotonic() < end:
                state = asyncio.ensure_future(live.state())
                await asyncio.wait({state, gone}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    state.cancel()
                    return
                await _send_event(send, b"data: " + state.result() + b"\n\n")
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        gone.cancel()


async def _until_disconnected(receive: _Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_event(send: _Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event, "more_body": True})
