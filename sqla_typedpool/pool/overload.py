"""Overload: which waiter is served next, and which is refused.

A queue that is served in order fails every caller under overload: the oldest waiter has
the least time left, its caller gives up in the middle of the statement, and the work is
lost. There are two remedies:

- ``ServiceOrder`` (``pool_overload``): while callers give up, the newest waiter is served
  first, because it has the most time left. No caller is refused.
- ``Shedding`` (``pool_shed_after``): while the queue stays long, the oldest waiters are
  refused.

Pure decisions: no clock, no I/O, no event loop. Times are given by the caller, in seconds
of one monotonic clock. Each call takes constant time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

# The history has one bit for each hand-over to a waiter: whether a caller has given up since
# the one before. Callers that are cancelled in one moment, as a task group is, set few bits.
_HISTORY = (1 << 64) - 1
_LATEST = (1 << 32) - 1  # the part of it that must be clear at the end of an overload
_BITS_AT_BEGIN = 16  # so many set bits begin an overload
# Seconds between the first and the last of them, at least: on a large pool many connections
# are handed over in the moment in which a group is cancelled.
_SUSTAINED = 0.1
_QUIET = 0.7  # seconds without a give-up, at least, until an overload ends
# A borrower counts if it has held its connection for less than so many times as long as it
# had waited. Others were cancelled because their statement was slow, or for another reason.
_HELD_PER_WAITED = 2.0
_PATIENCE_WEIGHT = 1 / 16  # of the latest caller in the average, at least
# During an overload one hand-over in so many goes to the oldest waiter, if it has waited so
# many times as long as others do before they give up: it may have no deadline.
_GUARD_TURNS = 4
_GUARD_PATIENCE = 2.0

# Seconds that the queue must stay long before waiters are refused, and short afterwards.
_SHED_SUSTAINED = 2.0
_SHED_HAND_OVERS = 4.0  # hand-overs until the second refusal


@dataclass
class Overload:
    """A period in which the newest waiter is served first."""

    began_at: float
    # Seconds after which callers give up, on average.
    patience: float
    # Callers that have given up since it began.
    gave_up: int = 0
    # Hand-overs to waiters since it began.
    served: int = 0
    # None = it has not ended.
    ended_at: float | None = None


def _ignore(overload: Overload) -> None:
    """Do nothing when an overload begins or ends."""


class ServiceOrder:
    """Whether the oldest or the newest waiter is served next.

    :param is_adaptive: False = always the oldest (``pool_overload="fifo"``).
    :param on_change: called when an overload begins, and when it has ended.
    """

    def __init__(
        self, *, is_adaptive: bool = True, on_change: Callable[[Overload], None] = _ignore
    ) -> None:
        self._is_adaptive = is_adaptive
        self._on_change = on_change
        self._current: Overload | None = None
        # Seconds after which callers give up, on average; 0 = none has.
        self.patience = 0.0
        self._history = 0  # the latest bit is the lowest
        self._has_given_up = False  # a caller, since the latest bit
        self._first_give_up = self._last_give_up = 0.0  # of those in the latest part of it
        self._ages = 0  # how many are in the average
        self._turn = 0

    # ---------------------------------------------------------------------- events

    def joined_empty_queue(self, now: float) -> None:
        """A waiter joins while no other one waits: old history does not affect a new batch."""
        if (self._has_given_up or self._history or self._current) and self._is_quiet(now):
            self._forget(now)

    def serves_newest(self, now: float, oldest_age: Callable[[], float]) -> bool:
        """Count a hand-over to a waiter; return whether the newest gets the connection.

        :param oldest_age: returns how long the oldest has waited, in seconds.
        """
        if not (self._has_given_up or self._history or self._current):
            return False
        self._add_bit(now)
        if self._current is None:
            return False
        self._current.served += 1
        self._turn = (self._turn + 1) % _GUARD_TURNS
        return self._turn != 0 or oldest_age() <= _GUARD_PATIENCE * self.patience

    def waiter_gave_up(self, waited: float, now: float) -> None:
        """A waiter was cancelled after so many seconds.

        A waiter that ``pool_timeout`` ends does not count: it has used no connection.
        """
        self._note_give_up(waited, now)

    def borrower_gave_up(self, waited: float, held: float, now: float) -> None:
        """A borrower was cancelled in the middle of a statement.

        :param waited: how long it had waited for its connection, in seconds.
        :param held: how long it has held the connection, in seconds.
        """
        if held < _HELD_PER_WAITED * waited:
            self._note_give_up(waited + held, now)

    # ----------------------------------------------------------------------- state

    def is_overloaded(self, now: float, *, has_waiters: bool) -> bool:
        """Whether the newest waiter is served first now."""
        return self._current is not None and (has_waiters or not self._is_quiet(now))

    def end_if_over(self, now: float, *, has_waiters: bool) -> None:
        """End an overload that no later waiter ends; called from time to time."""
        if self._current is not None and not self.is_overloaded(now, has_waiters=has_waiters):
            self._forget(now)

    def _is_quiet(self, now: float) -> bool:
        """Whether no caller has given up for as long as callers wait before they do."""
        return now - self._last_give_up >= max(_QUIET, self.patience)

    # --------------------------------------------------------------------- history

    def _note_give_up(self, age: float, now: float) -> None:
        if not self._is_adaptive:
            return
        self._note_age(age)
        if not (self._has_given_up or self._history & _LATEST):
            self._first_give_up = now
        self._has_given_up = True
        self._last_give_up = now
        if self._current is not None:
            self._current.gave_up += 1

    def _note_age(self, age: float) -> None:
        """Add the age of a caller that gave up to the average.

        What was before the present history does not affect it: a batch that was cancelled after
        minutes would keep a later overload from its end.
        """
        if self._current is None and not (self._has_given_up or self._history):
            self._ages = 0
        self._ages += 1
        self.patience += max(_PATIENCE_WEIGHT, 1 / self._ages) * (age - self.patience)

    def _add_bit(self, now: float) -> None:
        bit, self._has_given_up = self._has_given_up, False
        self._history = (self._history << 1 | bit) & _HISTORY
        if self._current is None:
            if bit and self._is_sustained():
                self._current = Overload(now, self.patience)
                self._on_change(self._current)
        elif not self._history & _LATEST and self._is_quiet(now):
            self._forget(now)

    def _is_sustained(self) -> bool:
        """Whether many callers give up, and have done so for a while."""
        is_long = self._last_give_up - self._first_give_up >= _SUSTAINED
        return is_long and self._history.bit_count() >= _BITS_AT_BEGIN

    def _forget(self, now: float) -> None:
        """Forget the history, and end the overload if there is one."""
        self._history, self._has_given_up = 0, False
        ended, self._current = self._current, None
        if ended is not None:
            ended.ended_at, ended.patience = now, self.patience
            self._on_change(ended)


class Shedding:
    """Whether the oldest waiter is refused.

    A long queue that becomes short again is no reason to refuse a caller. Shedding begins
    when the oldest waiter has been too old at each hand-over for two seconds, and ends when
    it has not been too old for two seconds. Meanwhile waiters that are too old are refused,
    at a rate that grows with the square root of their number, as in CoDel (RFC 8289). The
    rate is counted in hand-overs instead of seconds, so that it fits pools of all sizes.

    At each hand-over to a waiter, call ``handed_over``, and then ``refuses`` until it
    returns False; the connection goes to a waiter that is left.

    :param limit: the age from which a waiter is too old, in seconds (``pool_shed_after``).
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.is_shedding = False
        self._long_since: float | None = None  # None = the queue is short
        self._last_long = 0.0
        self._refused = 0  # in this period
        self._credit = 0.0  # refusals that the rate allows now

    def joined_empty_queue(self, now: float) -> None:
        """A waiter joins while no other one waits: so the queue was short until now."""
        self._note_short(now)

    def handed_over(self, now: float, oldest_age: float) -> None:
        """A connection is handed over to a waiter.

        :param oldest_age: how long the oldest has waited, in seconds.
        """
        if oldest_age >= self.limit:
            self._note_long(now)
        else:
            self._note_short(now)
        if self.is_shedding:
            rate = sqrt(self._refused) / _SHED_HAND_OVERS
            self._credit = min(self._credit, 1.0) + rate

    def refuses(self, oldest_age: float, waiting: int) -> bool:
        """Whether to refuse the oldest now; the only waiter is never refused.

        :param oldest_age: how long the oldest has waited, in seconds.
        :param waiting: the number of waiters, or 2 if there are more.
        """
        is_old = self.is_shedding and oldest_age >= self.limit
        if not is_old or waiting < 2 or self._credit < 1.0:
            return False
        self._credit -= 1.0
        self._refused += 1
        return True

    def _note_short(self, now: float) -> None:
        self._long_since = None
        if now - self._last_long >= _SHED_SUSTAINED:
            self.is_shedding = False

    def _note_long(self, now: float) -> None:
        self._last_long = now
        if self._long_since is None:
            self._long_since = now
        if not self.is_shedding and now - self._long_since >= _SHED_SUSTAINED:
            self.is_shedding = True
            self._refused, self._credit = 0, 1.0
