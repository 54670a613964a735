"""The world outside the clients' event loop: a proxy, a server, and hands that hurt them.

It lives in a thread with a loop of its own. Were the proxy in the clients' loop, a block of that
loop would stop the network too, and most of what can go wrong then could not.
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from tests.support.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tests.chaos.sides import Side

# Of whatever is asked of the world, a server's restart with its recovery among it.
BOUND = 60.0

T = TypeVar("T")
Fault = tuple[int, "Callable[[random.Random], Coroutine[Any, Any, None]]"]


class Victims:
    """What can be done to the clients; called in their loop."""

    def cancel_some(self, count: int) -> None:
        raise NotImplementedError

    def block(self, seconds: float) -> None:
        raise NotImplementedError

    def leak(self) -> None:
        raise NotImplementedError

    def retire_all(self) -> None:
        raise NotImplementedError


class World:
    """The network, the server and the three hands; used from the clients' loop."""

    def __init__(self, side: Side, seed: int) -> None:
        self._side = side
        self._started = time.monotonic()
        self._proxy = FaultProxy(side.host, side.port)
        self._loop: Any = None
        self._thread: threading.Thread | None = None
        self._hands: list[asyncio.Task[None]] = []
        self._dice = {
            name: random.Random(f"{seed} {name}") for name in ("network", "server", "clients")
        }
        self._clients: tuple[asyncio.AbstractEventLoop, Victims] | None = None
        self.kinds: Counter[str] = Counter()
        self.log: deque[str] = deque(maxlen=120)
        self.trouble: list[str] = []

    # ------------------------------------------------------------------------- life

    async def __aenter__(self) -> World:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()

        def live() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.call_soon(ready.set)
            self._loop.run_forever()

        self._thread = threading.Thread(target=live, name="the world")
        self._thread.start()
        ready.wait(10)
        await self.do(self._proxy.accept())
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self.do(self._calm())
            await self.do(self._proxy.__aexit__(None, None, None))
            await self.do(self._loop.shutdown_default_executor())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            assert self._thread is not None
            self._thread.join(10)
            self._loop.close()

    async def do(self, work: Awaitable[T]) -> T:
        """Run `work` in the world's loop."""

        async def job() -> T:
            return await work

        future = asyncio.run_coroutine_threadsafe(job(), self._loop)
        return await asyncio.wait_for(asyncio.wrap_future(future), BOUND)

    @property
    def port(self) -> int:
        return self._proxy.port

    @property
    def connections(self) -> int:
        """Connections through the proxy; each costs this process three descriptors."""
        return self._proxy.connections

    def note(self, what: str) -> None:
        self.log.append(f"{time.monotonic() - self._started:8.2f}  {what}")

    # ------------------------------------------------------------------------ chaos

    async def rage(self, victims: Victims) -> None:
        """Begin to hurt."""
        self._clients = (asyncio.get_running_loop(), victims)
        self.note("---- chaos")
        await self.do(self._rage())

    async def calm(self) -> None:
        """Stop, and mend everything; returns when the server takes connections again."""
        await self.do(self._calm())
        self.note("---- calm")

    async def strike(self) -> str:
        """Kill every connection while it is idle, in one of three ways; which."""
        return await self.do(self._strike())

    async def _strike(self) -> str:
        way = self._dice["network"].choice(("reset", "silence", "kill"))
        if way == "kill":
            await self._side.kill(self._dice["server"], 1000)
        elif way == "reset":
            self._proxy.reset_all()
        else:
            self._proxy.go_silent()
            self._proxy.resume()  # for new connections
        self.note(f"strike: {way} of all that are idle")
        return way

    async def _rage(self) -> None:
        hands = (
            self._hand("network", (0.3, 3.0), self._network_faults()),
            self._hand("server", (0.5, 5.0), self._server_faults()),
            self._hand("clients", (0.05, 0.6), self._client_faults()),
        )
        self._hands = [asyncio.ensure_future(hand) for hand in hands]

    async def _calm(self) -> None:
        for hand in self._hands:
            hand.cancel()
        for end in await asyncio.gather(*self._hands, return_exceptions=True):
            if isinstance(end, Exception):
                self.trouble.append(f"a hand of chaos failed: {end!r}")
        self._hands = []

    async def _hand(self, name: str, pauses: tuple[float, float], faults: list[Fault]) -> None:
        """One fault after the other; the hands know nothing of each other."""
        dice = self._dice[name]
        weights, actions = [weight for weight, _ in faults], [action for _, action in faults]
        while True:
            await asyncio.sleep(dice.uniform(*pauses))
            await dice.choices(actions, weights)[0](dice)

    def _did(self, kind: str, details: str = "") -> None:
        self.kinds[kind] += 1
        self.note(f"{kind} {details}".rstrip())

    # ---------------------------------------------------------------------- network

    def _network_faults(self) -> list[Fault]:
        return [(4, self._silence), (3, self._reset), (3, self._refuse), (2, self._slow)]

    async def _silence(self, dice: random.Random) -> None:
        seconds, cuts = dice.uniform(0.5, 6), dice.random() < 0.5
        self._did("silence", f"of {seconds:.1f} s{', then resets' if cuts else ''}")
        self._proxy.go_silent()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._proxy.resume()  # those that were silent stay silent
            if cuts:
                self._proxy.reset_all()

    async def _reset(self, dice: random.Random) -> None:
        self._did("reset")
        self._proxy.reset_all()

    async def _refuse(self, dice: random.Random) -> None:
        seconds, cuts = dice.uniform(0.2, 3), dice.random() < 0.7
        self._did("refuse", f"for {seconds:.1f} s{', after resets' if cuts else ''}")
        self._proxy.refuse()
        if cuts:
            self._proxy.reset_all()
        try:
            await asyncio.sleep(seconds)
        finally:
            await self._proxy.accept()

    async def _slow(self, dice: random.Random) -> None:
        seconds, delay, accept = dice.uniform(0.5, 3), dice.uniform(0, 0.1), dice.uniform(0, 1.5)
        self._did("slow", f"for {seconds:.1f} s: {delay:.2f} s, {accept:.2f} s to accept")
        self._proxy.delay, self._proxy.accept_delay = delay, accept
        try:
            await asyncio.sleep(seconds)
        finally:
            self._proxy.delay = self._proxy.accept_delay = 0.0

    # ----------------------------------------------------------------------- server

    def _server_faults(self) -> list[Fault]:
        return [(5, self._kill), (3, self._freeze), (2, self._restart)]

    async def _kill(self, dice: random.Random) -> None:
        killed = await self._side.kill(dice, dice.randint(1, 4))
        self._did("kill", f"{killed} sessions")

    async def _freeze(self, dice: random.Random) -> None:
        seconds = dice.uniform(0.2, 4)
        self._did("freeze", f"for {seconds:.1f} s")
        self._side.server.freeze()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._side.server.thaw()

    async def _restart(self, dice: random.Random) -> None:
        mode = dice.choice(self._side.modes)
        self._did("restart", mode)
        begun = time.monotonic()
        work = asyncio.ensure_future(asyncio.to_thread(self._side.restart, mode))
        try:
            await asyncio.shield(work)
        finally:
            await work  # a thread cannot be called off
            self.note(f"restarted after {time.monotonic() - begun:.1f} s")

    # ---------------------------------------------------------------------- clients

    def _client_faults(self) -> list[Fault]:
        return [
            (12, self._cancel),
            (1, self._block),
            (2, self._leak),
            (2, self._collect),
            (1, self._retire),
        ]

    def _tell(self, action: Callable[..., object], *args: Any) -> None:
        assert self._clients is not None
        with suppress(RuntimeError):  # their loop has just been closed
            self._clients[0].call_soon_threadsafe(action, *args)

    async def _cancel(self, dice: random.Random) -> None:
        count = dice.choice((1, 1, 1, 2, 3, 12))
        self._did("cancel", str(count))
        self._tell(self._clients[1].cancel_some, count)

    async def _block(self, dice: random.Random) -> None:
        seconds = dice.uniform(0.3, 1.5)
        self._did("block", f"the loop for {seconds:.1f} s")
        self._tell(self._clients[1].block, seconds)

    async def _leak(self, dice: random.Random) -> None:
        self._did("leak")
        self._tell(self._clients[1].leak)

    async def _collect(self, dice: random.Random) -> None:
        """Garbage, connections lost among it, is collected in this thread or in the clients'."""
        here = dice.random() < 0.5
        self._did("collect", "in another thread" if here else "in the loop")
        if here:
            await asyncio.to_thread(gc.collect)
        else:
            self._tell(gc.collect)

    async def _retire(self, dice: random.Random) -> None:
        self._did("retire_all")
        self._tell(self._clients[1].retire_all)
