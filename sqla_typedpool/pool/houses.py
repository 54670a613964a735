"""Which event loop has which part of the pool."""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from sqla_typedpool.pool import ending, loops
from sqla_typedpool.pool.inline import Inline
from sqla_typedpool.pool.station import Station
from sqla_typedpool.pool.stats import Tally

if TYPE_CHECKING:
    from sqla_typedpool.pool.house import House
    from sqla_typedpool.pool.pool import TypedPool

__all__ = ["Houses", "running_loop"]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The running event loop of this thread, if any."""
    try:
        return get_running_loop()
    except RuntimeError:
        return None


class Houses:
    """The stations of one pool, and the house of those without a loop."""

    def __init__(self, pool: TypedPool) -> None:
        self._pool = pool
        self._stations: dict[asyncio.AbstractEventLoop, Station] = {}
        self.inline = Inline(pool)
        self._several = False  # it has been reported that there are several loops
        self.past = Tally()  # what the stations of ended loops have counted

    def __iter__(self) -> Iterator[House]:
        yield self.inline
        yield from list(self._stations.values())

    def here(self) -> Station:
        """The running loop's station, built at first use; RuntimeError without a loop."""
        return self.of(get_running_loop())

    def at_hand(self) -> Station | None:
        """The running loop's station, if there is one."""
        loop = running_loop()
        return None if loop is None else self._stations.get(loop)

    def of(self, loop: asyncio.AbstractEventLoop) -> Station:
        """The station of the running loop, built at first use."""
        station = self._stations.get(loop)
        if station is None:
            self._pool.prepare()
            station = self._stations[loop] = Station(self._pool, loop)
            self._report_several()
        self._pool.near = station
        return station

    def _report_several(self) -> None:
        live = [loop for loop in list(self._stations) if not loop.is_closed()]
        if len(live) > 1 and not self._several:
            self._several = True
            self._pool.log.warning(
                "this engine is used from %d event loops at once: each has its own "
                "connections, so the limit counts per loop",
                len(live),
                extra={"loops": len(live)},
            )

    def part_with(self, station: Station) -> None:
        """A loop has ended: keep its numbers, forget the rest."""
        if self._stations.get(station.loop) is station:
            del self._stations[station.loop]
            self.past.add(station.tally)
        if self._pool.near is station:
            self._pool.near = None

    def everywhere(
        self, work: Callable[[Station], Coroutine[Any, Any, None]]
    ) -> list[asyncio.Future[None]]:
        """The same work in every running loop, to be awaited in this one."""
        here = running_loop()
        todo: list[asyncio.Future[None]] = []
        for loop, station in list(self._stations.items()):
            if loop is here:
                todo.append(asyncio.ensure_future(work(station)))
            elif loop.is_running():
                there = asyncio.run_coroutine_threadsafe(work(station), loop)
                todo.append(asyncio.wrap_future(there))
        return todo

    def tell(self, order: Callable[[Station], object]) -> None:
        """Give an order to every station, each in its own loop."""
        loops.sweep()
        here = running_loop()
        for loop, station in list(self._stations.items()):
            if loop is here or not (loop.is_running() or loop.is_closed()):
                order(station)
            elif not loops.post(loop, order, station):
                ending.abandon(station)
