"""Injects faults: into the network (through a proxy), into the server, and into the clients.

The injector and the proxy run in a thread with its own event loop. With the proxy in the
clients' loop, blocking that loop would also stop the network and hide most errors.
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

    from tests.chaos.targets import Target

# Seconds within which each operation of the injector must end, a restart of the server included.
BOUND = 60.0

T = TypeVar("T")
Fault = tuple[int, "Callable[[random.Random], Coroutine[Any, Any, None]]"]


class ClientFaults:
    """The faults that clients can suffer; called in the clients' loop."""

    def cancel_some(self, count: int) -> None:
        raise NotImplementedError

    def block(self, seconds: float) -> None:
        raise NotImplementedError

    def leak(self) -> None:
        raise NotImplementedError

    def retire_all(self) -> None:
        raise NotImplementedError


class FaultInjector:
    """A proxy and three injectors (network, server, clients); used from the clients' loop."""

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._started = time.monotonic()
        self._proxy = FaultProxy(target.host, target.port)
        self._loop: Any = None
        self._thread: threading.Thread | None = None
        self._injectors: list[asyncio.Task[None]] = []
        self._rngs = {
            name: random.Random(f"{seed} {name}") for name in ("network", "server", "clients")
        }
        self._clients: tuple[asyncio.AbstractEventLoop, ClientFaults] | None = None
        self.counts: Counter[str] = Counter()
        self.history: deque[str] = deque(maxlen=120)
        self.errors: list[str] = []

    # ----------------------------------------------------------------------- start, end

    async def __aenter__(self) -> FaultInjector:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()

        def live() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.call_soon(ready.set)
            self._loop.run_forever()

        self._thread = threading.Thread(target=live, name="fault injector")
        self._thread.start()
        ready.wait(10)
        await self.do(self._proxy.accept())
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self.do(self._stop())
            await self.do(self._proxy.__aexit__(None, None, None))
            await self.do(self._loop.shutdown_default_executor())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            assert self._thread is not None
            self._thread.join(10)
            self._loop.close()

    async def do(self, work: Awaitable[T]) -> T:
        """Run `work` in the loop of the injector."""

        async def job() -> T:
            return await work

        future = asyncio.run_coroutine_threadsafe(job(), self._loop)
        return await asyncio.wait_for(asyncio.wrap_future(future), BOUND)

    @property
    def port(self) -> int:
        return self._proxy.port

    @property
    def connections(self) -> int:
        """Connections through the proxy; each needs three descriptors in this process."""
        return self._proxy.connections

    def log(self, what: str) -> None:
        self.history.append(f"{time.monotonic() - self._started:8.2f}  {what}")

    # ----------------------------------------------------------------------- faults

    async def start(self, clients: ClientFaults) -> None:
        """Start injecting faults."""
        self._clients = (asyncio.get_running_loop(), clients)
        self.log("---- faults")
        await self.do(self._start())

    async def stop(self) -> None:
        """Stop injecting and undo all faults; return when the server accepts connections again."""
        await self.do(self._stop())
        self.log("---- no faults")

    async def kill_idle(self) -> str:
        """Break every connection while all are idle; return in which of three ways."""
        return await self.do(self._kill_idle())

    async def _kill_idle(self) -> str:
        method = self._rngs["network"].choice(("reset", "silence", "kill"))
        if method == "kill":
            await self._target.kill(self._rngs["server"], 1000)
        elif method == "reset":
            self._proxy.reset_all()
        else:
            self._proxy.go_silent()
            self._proxy.resume()  # for new connections
        self.log(f"{method} of all idle connections")
        return method

    async def _start(self) -> None:
        injectors = (
            self._inject("network", (0.3, 3.0), self._network_faults()),
            self._inject("server", (0.5, 5.0), self._server_faults()),
            self._inject("clients", (0.05, 0.6), self._client_faults()),
        )
        self._injectors = [asyncio.ensure_future(injector) for injector in injectors]

    async def _stop(self) -> None:
        for injector in self._injectors:
            injector.cancel()
        for result in await asyncio.gather(*self._injectors, return_exceptions=True):
            if isinstance(result, Exception):
                self.errors.append(f"a fault injector failed: {result!r}")
        self._injectors = []

    async def _inject(self, name: str, pauses: tuple[float, float], faults: list[Fault]) -> None:
        """Inject one fault after the other; the injectors are independent of each other."""
        rng = self._rngs[name]
        weights, actions = [weight for weight, _ in faults], [action for _, action in faults]
        while True:
            await asyncio.sleep(rng.uniform(*pauses))
            await rng.choices(actions, weights)[0](rng)

    def _record(self, fault: str, details: str = "") -> None:
        self.counts[fault] += 1
        self.log(f"{fault} {details}".rstrip())

    # ---------------------------------------------------------------------- network

    def _network_faults(self) -> list[Fault]:
        return [(4, self._silence), (3, self._reset), (3, self._refuse), (2, self._slow)]

    async def _silence(self, rng: random.Random) -> None:
        seconds, resets = rng.uniform(0.5, 6), rng.random() < 0.5
        self._record("silence", f"of {seconds:.1f} s{', then resets' if resets else ''}")
        self._proxy.go_silent()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._proxy.resume()  # for new connections; the old ones stay silent
            if resets:
                self._proxy.reset_all()

    async def _reset(self, rng: random.Random) -> None:
        self._record("reset")
        self._proxy.reset_all()

    async def _refuse(self, rng: random.Random) -> None:
        seconds, resets = rng.uniform(0.2, 3), rng.random() < 0.7
        self._record("refuse", f"for {seconds:.1f} s{', after resets' if resets else ''}")
        self._proxy.refuse()
        if resets:
            self._proxy.reset_all()
        try:
            await asyncio.sleep(seconds)
        finally:
            await self._proxy.accept()

    async def _slow(self, rng: random.Random) -> None:
        seconds, delay, accept = rng.uniform(0.5, 3), rng.uniform(0, 0.1), rng.uniform(0, 1.5)
        self._record("slow", f"for {seconds:.1f} s: {delay:.2f} s, {accept:.2f} s to accept")
        self._proxy.delay, self._proxy.accept_delay = delay, accept
        try:
            await asyncio.sleep(seconds)
        finally:
            self._proxy.delay = self._proxy.accept_delay = 0.0

    # ----------------------------------------------------------------------- server

    def _server_faults(self) -> list[Fault]:
        return [(5, self._kill), (3, self._freeze), (2, self._restart)]

    async def _kill(self, rng: random.Random) -> None:
        killed = await self._target.kill(rng, rng.randint(1, 4))
        self._record("kill", f"{killed} sessions")

    async def _freeze(self, rng: random.Random) -> None:
        seconds = rng.uniform(0.2, 4)
        self._record("freeze", f"for {seconds:.1f} s")
        self._target.server.freeze()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._target.server.thaw()

    async def _restart(self, rng: random.Random) -> None:
        mode = rng.choice(self._target.restart_modes)
        self._record("restart", mode)
        started = time.monotonic()
        restart = asyncio.ensure_future(asyncio.to_thread(self._target.restart, mode))
        try:
            await asyncio.shield(restart)
        finally:
            await restart  # a thread cannot be cancelled
            self.log(f"restarted after {time.monotonic() - started:.1f} s")

    # ---------------------------------------------------------------------- clients

    def _client_faults(self) -> list[Fault]:
        return [
            (12, self._cancel),
            (1, self._block),
            (2, self._leak),
            (2, self._collect),
            (1, self._retire),
        ]

    def _call_clients(self, action: Callable[..., object], *args: Any) -> None:
        assert self._clients is not None
        with suppress(RuntimeError):  # the clients' loop has just been closed
            self._clients[0].call_soon_threadsafe(action, *args)

    async def _cancel(self, rng: random.Random) -> None:
        count = rng.choice((1, 1, 1, 2, 3, 12))
        self._record("cancel", str(count))
        self._call_clients(self._clients[1].cancel_some, count)

    async def _block(self, rng: random.Random) -> None:
        seconds = rng.uniform(0.3, 1.5)
        self._record("block", f"the loop for {seconds:.1f} s")
        self._call_clients(self._clients[1].block, seconds)

    async def _leak(self, rng: random.Random) -> None:
        self._record("leak")
        self._call_clients(self._clients[1].leak)

    async def _collect(self, rng: random.Random) -> None:
        """Collect garbage (leaked connections too) in another thread or in the clients' loop."""
        elsewhere = rng.random() < 0.5
        self._record("collect", "in another thread" if elsewhere else "in the loop")
        if elsewhere:
            await asyncio.to_thread(gc.collect)
        else:
            self._call_clients(gc.collect)

    async def _retire(self, rng: random.Random) -> None:
        self._record("retire_all")
        self._call_clients(self._clients[1].retire_all)
