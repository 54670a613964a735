"""Which event loop has which part of the pool, and how the end of a loop is noticed.

``asyncio.run`` closes asynchronous generators while the loop still runs
(``loop.shutdown_asyncgens()``), so a generator notices the end in time to close
connections gracefully. A loop closed without that is noticed by the housekeeper's
timer, or when a pool is first used in another loop.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from asyncio import get_running_loop
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from sqla_typedpool._asyncio.timers import call_in_loop, running_loop
from sqla_typedpool.pool import shutdown
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.housekeeper import Housekeeper
from sqla_typedpool.pool.log import LogEvent
from sqla_typedpool.pool.loop_pool import LoopPool
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.stats import Counters


class LoopPools:
    """The parts of one pool, one for each event loop."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._pools: dict[asyncio.AbstractEventLoop, LoopPool] = {}
        self._several_logged = False
        # The part that was used last; most often the only one.
        self.last_used: LoopPool | None = None
        # What the parts of ended loops have counted.
        self.ended_counters = Counters()
        shared.evict_everywhere = self._evict_everywhere
        shared.count_connections = self._count_connections

    def __iter__(self) -> Iterator[LoopPool]:
        return iter(list(self._pools.values()))

    def current(self) -> LoopPool:
        """The running loop's part, created at first use.

        :raises RuntimeError: no loop runs.
        """
        loop = get_running_loop()
        self.last_used = pool = self._pools.get(loop) or self._create(loop)
        return pool

    def current_or_none(self) -> LoopPool | None:
        """The running loop's part, if there is one."""
        loop = running_loop()
        return None if loop is None else self._pools.get(loop)

    def _create(self, loop: asyncio.AbstractEventLoop) -> LoopPool:
        if self._shared.log.name.is_released:
            self._shared.log.take_name()
        pool = self._pools[loop] = LoopPool(self._shared, loop)
        pool.on_acquire = Housekeeper(pool, reap_closed_loops).start
        _watch_end(loop, self)
        self._log_several_loops()
        return pool

    def _log_several_loops(self) -> None:
        live = [loop for loop in list(self._pools) if not loop.is_closed()]
        if len(live) > 1 and not self._several_logged:
            self._several_logged = True
            self._shared.log.warning(
                LogEvent.SEVERAL_LOOPS,
                "this engine is used from %d event loops at once: each has its own "
                "connections, so the limit counts per loop; next: divide pool_size by the number "
                "of loops",
                len(live),
                event_loops=len(live),
            )

    # -------------------------------------------------------------- in every loop

    async def run_in_each(
        self, work: Callable[[LoopPool], Coroutine[Any, Any, None]], seconds: float
    ) -> None:
        """Run the same work in every running loop, and wait for it here, at most so long.

        Another loop may end meanwhile, which cancels the work in it.
        """
        pools = [pool for pool in self if pool.loop.is_running()]
        begun = [asyncio.run_coroutine_threadsafe(work(pool), pool.loop) for pool in pools]
        if begun:
            futures = {asyncio.wrap_future(each) for each in begun}
            done, _ = await asyncio.wait(futures, timeout=seconds)
            for each in done:
                _ = each.cancelled() or each.result()

    def broadcast(self, action: Callable[[LoopPool], object]) -> None:
        """Call ``action`` with every part, each in its own loop."""
        reap_closed_loops()
        here = running_loop()
        for loop, pool in list(self._pools.items()):
            if loop is here or not (loop.is_running() or loop.is_closed()):
                action(pool)
            elif not call_in_loop(loop, action, pool):
                self._on_loop_closed(pool)

    def _evict_everywhere(self, predicate: Callable[[PoolEntry], bool]) -> None:
        self.broadcast(partial(shutdown.evict, predicate=predicate))

    def _count_connections(self) -> int:
        reap_closed_loops()
        return sum(pool.slots.total - pool.slots.closing for pool in self)

    # -------------------------------------------------------------- end of a loop

    async def on_loop_ending(self, loop: asyncio.AbstractEventLoop) -> None:
        """This loop is about to close: close its connections gracefully."""
        pool = self._pools.get(loop)
        if pool is not None:
            await shutdown.on_loop_ending(pool)
            self._discard(pool)

    def reap(self, loop: asyncio.AbstractEventLoop) -> None:
        """This loop is closed: release its sockets."""
        pool = self._pools.get(loop)
        if pool is not None:
            self._on_loop_closed(pool)

    def _on_loop_closed(self, pool: LoopPool) -> None:
        shutdown.on_loop_closed(pool)
        self._discard(pool)

    def _discard(self, pool: LoopPool) -> None:
        """Keep its statistics only."""
        if self.last_used is pool:
            self.last_used = None
        if self._pools.get(pool.loop) is pool:
            del self._pools[pool.loop]
            self.ended_counters.merge(pool.counters)


# ----------------------------------------------------------------- noticing the end


_Pools = weakref.WeakSet[LoopPools]
_Watched = tuple[_Pools, "AsyncGenerator[None, None] | None"]

# of each loop: its pools, and the generator that notices its end
_watched: dict[asyncio.AbstractEventLoop, _Watched] = {}


async def _wait_for_end(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        pools, _ = _watched.pop(loop, ((), None))
        await asyncio.gather(*(each.on_loop_ending(loop) for each in pools), return_exceptions=True)


def _watch_end(loop: asyncio.AbstractEventLoop, pools: LoopPools) -> None:
    """Notify these pools when the running loop ends."""
    reap_closed_loops()
    if loop not in _watched:
        generator = None
        # A loop without the hooks of PEP 525 (nest_asyncio) closes no generators, and
        # one of ours would only be reported when the interpreter exits.
        if sys.get_asyncgen_hooks().firstiter is not None:
            generator = _wait_for_end(loop)
            with suppress(StopIteration):
                generator.__anext__().send(None)  # to its yield: the loop has registered it now
        _watched[loop] = weakref.WeakSet(), generator
    _watched[loop][0].add(pools)


def reap_closed_loops() -> None:
    """Release everything that belongs to closed loops."""
    for loop in list(_watched):
        if loop.is_closed():
            for pools in list(_watched.pop(loop, ((), None))[0]):
                pools.reap(loop)


def forget_all_loops() -> object:
    """In a forked child: the watched loops are the parent's. The result must be kept."""
    inherited = dict(_watched)
    _watched.clear()
    return inherited
