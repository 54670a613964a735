"""An open loop of clients on a pool with a limited number of connections, in virtual time.

Requests arrive at random (Poisson), hold a connection for their service time, and their
clients give up after their patience: while they wait, or in the middle of a statement. The
order of service is that of `ServiceOrder`, and `Shedding` refuses waiters; all else is
simulated here. A run is repeated exactly by its seed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from itertools import count
from random import Random
from statistics import quantiles
from typing import Any

from sqla_typedpool.pool.overload import Overload, ServiceOrder, Shedding

FOREVER = float("inf")


@dataclass(frozen=True)
class Times:
    """A distribution of times in seconds."""

    draw: Callable[[Random], float]
    mean: float


def fixed(seconds: float) -> Times:
    return Times(lambda _: seconds, seconds)


def uniform(shortest: float, longest: float) -> Times:
    return Times(lambda rng: rng.uniform(shortest, longest), (shortest + longest) / 2)


def one_of(*seconds: float) -> Times:
    return Times(lambda rng: rng.choice(seconds), sum(seconds) / len(seconds))


def heavy_tail(mean: float) -> Times:
    """A Pareto distribution whose variance is infinite."""
    return Times(lambda rng: mean / 3 * rng.paretovariate(1.5), mean)


class AfterCancel(Enum):
    """What a cancelled statement costs its connection."""

    # It is closed and opened again.
    RECONNECT = 0.01
    # It is kept after a round trip.
    KEEP = 0.001
    # The statement runs to its end on the server.
    RUN_ON = None


@dataclass(frozen=True)
class Scenario:
    """A pool, its clients and their load. Times are in seconds."""

    size: int = 10
    service: Times = field(default_factory=lambda: fixed(0.05))
    patience: Times = field(default_factory=lambda: fixed(0.5))
    # (seconds, load as a multiple of the capacity), one after the other
    load: Sequence[tuple[float, float]] = ((8.0, 1.5),)
    # How often a client that gave up tries again, at once.
    retries: int = 0
    # The share of the clients that cancel for reasons of their own, after a time of these.
    impatient: float = 0.0
    impatience: Times = field(default_factory=lambda: uniform(0.0, 0.1))
    # Clients without a deadline, each second.
    patient: float = 0.0
    after_cancel: AfterCancel = AfterCancel.RECONNECT

    @property
    def capacity(self) -> float:
        """Requests a second that the connections can serve."""
        return self.size / self.service.mean

    @property
    def seconds(self) -> float:
        return sum(seconds for seconds, _ in self.load)


@dataclass(eq=False)
class Request:
    """One attempt of a client."""

    arrived: float
    deadline: float
    service: float
    retries: int
    patience: float
    began: float | None = None
    ended: float | None = None


class Model:
    """One run of a scenario."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        *,
        is_adaptive: bool = True,
        shed_after: float | None = None,
    ) -> None:
        self.scenario = scenario
        self.rng = Random(seed)
        self.order = ServiceOrder(is_adaptive=is_adaptive, on_change=self._overload_changed)
        self.shedding = None if shed_after is None else Shedding(shed_after)
        self.queue: OrderedDict[Request, None] = OrderedDict()
        self.idle = scenario.size
        self.now = 0.0
        self.served: list[tuple[float, float]] = []  # arrived, ended
        # When a waiter got a connection while an older one waited.
        self.inversions: list[float] = []
        self.gave_up = self.refused = self.reconnects = 0
        self.changes: list[Overload] = []  # once for its beginning, once for its end
        self.longest_patient = 0.0  # the longest wait of a client without a deadline, in seconds
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = count()

    # -------------------------------------------------------------------- running

    def at(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        heappush(self._events, (time, next(self._number), action, arguments))

    def run(self, until: float = FOREVER) -> None:
        """Process the events up to that time."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action, arguments = heappop(self._events)
            action(*arguments)

    def start(self) -> None:
        """Begin the load."""
        begins = 0.0
        for seconds, load in self.scenario.load:
            ends = begins + seconds
            self.at(begins, self._arrive, load * self.scenario.capacity, ends)
            begins = ends
        if self.scenario.patient:
            self.at(0.0, self._arrive_patient)

    def _arrive(self, rate: float, until: float) -> None:
        """A request arrives, and the next one after a random time."""
        if self.now >= until or not rate:
            return
        self.at(self.now + self.rng.expovariate(rate), self._arrive, rate, until)
        patience = self.scenario.patience.draw(self.rng)
        if self.scenario.impatient and self.rng.random() < self.scenario.impatient:
            patience = self.scenario.impatience.draw(self.rng)
        self.request(patience, self.scenario.retries)

    def _arrive_patient(self) -> None:
        if self.now < self.scenario.seconds:
            self.at(self.now + 1 / self.scenario.patient, self._arrive_patient)
            self.request(FOREVER)

    # --------------------------------------------------------------------- clients

    def request(self, patience: float, retries: int = 0) -> Request:
        """A client needs a connection."""
        service = self.scenario.service.draw(self.rng)
        request = Request(self.now, self.now + patience, service, retries, patience)
        if patience < FOREVER:
            self.at(request.deadline, self.give_up, request)
        if self.idle:
            self.idle -= 1
            self._begin(request)
        else:
            if not self.queue:
                self.order.joined_empty_queue(self.now)
                if self.shedding is not None:
                    self.shedding.joined_empty_queue(self.now)
            self.queue[request] = None
        return request

    def give_up(self, request: Request) -> None:
        """The client cancels its request."""
        if request.ended is not None:
            return
        request.ended = self.now
        self.gave_up += 1
        if request.began is None:
            del self.queue[request]
            self.order.waiter_gave_up(self.now - request.arrived, self.now)
        else:
            waited, held = request.began - request.arrived, self.now - request.began
            self.order.borrower_gave_up(waited, held, self.now)
            self._statement_cancelled(request)
        if request.retries:
            self.request(self.scenario.patience.draw(self.rng), request.retries - 1)

    # ----------------------------------------------------------------- connections

    def _begin(self, request: Request) -> None:
        request.began = self.now
        if request.patience == FOREVER:
            self.longest_patient = max(self.longest_patient, self.now - request.arrived)
        self.at(self.now + request.service, self._finish, request)

    def _finish(self, request: Request) -> None:
        if request.ended is None:
            request.ended = self.now
            self.served.append((request.arrived, self.now))
            self._returned()

    def _statement_cancelled(self, request: Request) -> None:
        self.reconnects += self.scenario.after_cancel is AfterCancel.RECONNECT
        seconds = self.scenario.after_cancel.value
        assert request.began is not None
        ends = request.began + request.service if seconds is None else self.now + seconds
        self.at(ends, self._returned)

    def _returned(self) -> None:
        """A connection is free: hand it over, or make it idle."""
        self._shed()
        if not self.queue:
            self.idle += 1
            return
        newest = self.order.serves_newest(self.now, self._oldest_age)
        oldest = next(iter(self.queue))
        request, _ = self.queue.popitem(last=newest)
        if request is not oldest:
            self.inversions.append(self.now)
        self._begin(request)

    def _oldest_age(self) -> float:
        return self.now - next(iter(self.queue)).arrived

    def _shed(self) -> None:
        if self.shedding is None or not self.queue:
            return
        self.shedding.handed_over(self.now, self._oldest_age())
        while self.shedding.refuses(self._oldest_age(), len(self.queue)):
            request, _ = self.queue.popitem(last=False)
            request.ended = self.now
            self.refused += 1

    def _overload_changed(self, overload: Overload) -> None:
        self.changes.append(overload)

    # --------------------------------------------------------------------- results

    @property
    def overloads(self) -> int:
        """How many have begun."""
        return len({id(each) for each in self.changes})

    def goodput(self, since: float = 0.0) -> float:
        """Requests finished in time during the load, as a share of the capacity."""
        until = self.scenario.seconds
        done = sum(since <= ended < until for _, ended in self.served)
        return done / (self.scenario.capacity * (until - since))

    def latency(self, percent: int = 50) -> float:
        """A percentile of the seconds from arrival to end, of those served."""
        return quantiles([ended - arrived for arrived, ended in self.served], n=100)[percent - 1]


def simulate(
    scenario: Scenario, seed: int = 1, *, is_adaptive: bool = True, shed_after: float | None = None
) -> Model:
    """Run a scenario until its last request has ended."""
    model = Model(scenario, seed, is_adaptive=is_adaptive, shed_after=shed_after)
    model.start()
    model.run()
    return model
