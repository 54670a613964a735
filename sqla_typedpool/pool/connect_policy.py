"""When to open connections, when to retry, and which waiters get an error.

Pure decisions: no clock, no I/O, no event loop. Times are given by the caller, in
seconds of one monotonic clock.

- Growth is slow at first: two attempts, doubling with each success while waiters
  remain, one after a failure. A short spike on warm connections ends before a third
  attempt is needed.
- A fatal error is raised in the waiters at once; while other connections work, in one at a
  time, as the others may be served by a return. An error that no rule knows is fatal only
  if no other connection works.
- In an outage attempts are repeated with a growing pause, and waiters are kept for
  ``pool_connect_retry`` seconds from its beginning.
- A silent attempt is not waited for. Each second that waiters go unserved a fresh one
  is started beside it (hedging); if no slot is free, a silent one is abandoned. The
  oldest gets more patience each time, so that a slow server is still reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from sqla_typedpool.pool.connect_rules import ErrorKind
from sqla_typedpool.pool.outages import Outage, OutageTracker
from sqla_typedpool.secrets import masked_repr

# Seconds that waiters go unserved before a fresh attempt is started.
HEDGE_INTERVAL = 1.0

_PARALLEL_START, _PARALLEL_MAX = 2, 1024
# The pause between attempts in an outage is a fifth of the outage's age: a short
# outage is not prolonged by much, a long one is not answered with many attempts.
_PAUSE_MIN, _PAUSE_MAX, _PAUSE_SHARE = 0.01, 1.0, 0.2
_FATAL_PAUSE = 0.1  # until the next waiter gets an error that a retry cannot correct
_REFILL_PAUSE_MIN, _REFILL_PAUSE_MAX = 1.0, 30.0  # between attempts without a waiter
_SILENT_MAX = 3.0  # the most seconds before an attempt counts as silent, on a slow server
_OUTAGE_FORGOTTEN = 30.0  # seconds without a failed attempt after which an outage is over


class Affected(Enum):
    """Which waiters a connect error is raised in.

    Never one who joined after the attempt had begun: the reason may not exist any more (a
    credential was refreshed, the network is back). Such a waiter gets a fresh attempt.
    """

    NONE = "none"
    # The oldest of those who waited when the attempt began.
    OLDEST = "oldest"
    # All who waited when the attempt began.
    JOINED_BEFORE = "joined before"


@dataclass(frozen=True)
class Decision:
    """What follows from a failed attempt."""

    affected: Affected
    # Seconds until the next attempt; None = none is needed now, or at once.
    pause: float | None = None


_FAIL_THE_WAITERS = Decision(Affected.JOINED_BEFORE)


def _pause_after(age: float) -> float:
    return max(_PAUSE_MIN, min(_PAUSE_MAX, age * _PAUSE_SHARE))


class ConnectPolicy:
    """The decisions about the connection attempts of one event loop.

    :param retry: ``pool_connect_retry``.
    :param describe: returns an error in one line, without secrets.
    """

    def __init__(
        self, retry: float, describe: Callable[[BaseException], str] = masked_repr
    ) -> None:
        self._retry = retry
        # How many attempts may run at a time, those that are silent not counted.
        self.parallel = _PARALLEL_START
        self._hedge_after = HEDGE_INTERVAL  # the patience with the oldest silent attempt
        # The age in seconds from which an attempt is silent: it is not counted on any more.
        self.silent_after = HEDGE_INTERVAL
        self._last_success_started: float | None = None
        # The first failure since the latest success, and the first one for which waiters are kept.
        self._failing_since: float | None = None
        self._retrying_since: float | None = None
        self._last_retry_at: float | None = None
        self._refill_at: float | None = None  # None = at any time
        self._refill_pause = _REFILL_PAUSE_MIN
        self.outages = OutageTracker(describe)

    @property
    def last_error(self) -> BaseException | None:
        """The latest error since the latest success."""
        return self.outages.last_error

    @property
    def last_outage(self) -> Outage | None:
        """The latest outage that has ended."""
        return self.outages.last_outage

    @property
    def is_outage(self) -> bool:
        """Whether attempts fail, and have not succeeded since."""
        return self._failing_since is not None

    # --------------------------------------------------------------- may it start

    def may_refill(self, now: float) -> bool:
        """Whether an attempt without a waiter may start."""
        return self._refill_at is None or now >= self._refill_at

    # -------------------------------------------------------------------- results

    def succeeded(self, started: float, now: float) -> None:
        """An attempt has succeeded."""
        if self._last_success_started is None or started > self._last_success_started:
            self._last_success_started = started
        self.silent_after = min(max(HEDGE_INTERVAL, 2 * (now - started)), _SILENT_MAX)
        self._hedge_after = HEDGE_INTERVAL
        self._failing_since = self._retrying_since = self._refill_at = None
        self._refill_pause = _REFILL_PAUSE_MIN

    def demand_after_success(self, *, remains: bool) -> None:
        """Grow while waiters remain; start small again when none do."""
        self.parallel = min(self.parallel * 2, _PARALLEL_MAX) if remains else _PARALLEL_START

    def is_outdated(self, started: float) -> bool:
        """Whether the server has answered an attempt that began after this one."""
        return self._last_success_started is not None and started < self._last_success_started

    def failed(self, kind: ErrorKind, started: float, now: float, working: int) -> Decision:
        """An attempt has failed.

        :param working: connections in use or being validated, which may serve waiters soon.
        """
        if self.is_outdated(started):
            return Decision(Affected.NONE)
        self.parallel = 1
        self._refill_at = now + self._refill_pause
        self._refill_pause = min(self._refill_pause * 2, _REFILL_PAUSE_MAX)
        if self._failing_since is None:
            self._failing_since = now
        if kind is ErrorKind.FATAL:
            return Decision(Affected.OLDEST, _FATAL_PAUSE) if working else _FAIL_THE_WAITERS
        if kind is ErrorKind.UNKNOWN:
            pause = _pause_after(now - self._failing_since)
            return Decision(Affected.NONE, pause) if working else _FAIL_THE_WAITERS
        return self._retry_or_fail(kind, now, working)

    def _retry_or_fail(self, kind: ErrorKind, now: float, working: int) -> Decision:
        last = self._last_retry_at
        if self._retrying_since is None or last is None or now - last > _OUTAGE_FORGOTTEN:
            self._retrying_since = now
        self._last_retry_at = now
        left = self._retrying_since + self._retry - now
        pause = _pause_after(now - self._retrying_since)
        if left > _PAUSE_MIN:
            return Decision(Affected.NONE, min(left, pause))
        if kind is ErrorKind.FULL and working:
            return Decision(Affected.NONE, pause)
        return _FAIL_THE_WAITERS

    def cancelled(self, now: float) -> None:
        """Somebody else cancelled the attempt, most likely because the loop is ending."""
        self._refill_at = now + _REFILL_PAUSE_MIN

    # -------------------------------------------------------------------- hedging

    def _is_silent(self, started: float, now: float) -> bool:
        return now - started >= self.silent_after

    def superseded(self, starts: Sequence[float], success: float, now: float) -> list[int]:
        """Which attempts to abandon after a success: silent ones that began before it."""
        silent = [index for index, each in enumerate(starts) if self._is_silent(each, now)]
        return [index for index in silent if starts[index] < success]

    def to_abandon(self, starts: Sequence[float], now: float, max_patience: float) -> int | None:
        """Which attempt gives its slot to a fresh one; None = none may be abandoned now.

        :param starts: when each attempt began, the oldest first.
        :param max_patience: the most seconds to wait for the oldest.
        """
        silent = [index for index, each in enumerate(starts) if self._is_silent(each, now)]
        if len(silent) > 1:
            return silent[1]
        if silent and now - starts[silent[0]] >= self._hedge_after:
            self._hedge_after = min(self._hedge_after * 2, max_patience)
            return silent[0]
        return None

    def max_patience(self, connect_timeout: float, checkout_timeout: float | None) -> float:
        """The most seconds to wait for the only attempt.

        Less than the limit of a checkout: the next waiter needs time for a fresh attempt.
        """
        if checkout_timeout is None or checkout_timeout <= 0:
            return connect_timeout
        return min(connect_timeout, max(HEDGE_INTERVAL, checkout_timeout * 0.8))
