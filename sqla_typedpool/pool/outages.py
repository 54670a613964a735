"""Since when no connection can be opened, and when a log line is due. No clock, no timer.

An outage begins with an attempt that fails or is not answered, and ends with one that
succeeds. It is logged when it has lasted for half a second (three if the server does not
answer), or at once if a checkout has failed, or if retries are useless: one refused
attempt whose retry succeeds is not worth a line. While it lasts it is logged again at
growing intervals, when an attempt fails or while callers wait, and once at its end.

A checkout counts as failed if it got a connect error, timed out, or was refused by
``pool_max_waiting`` or ``pool_shed_after``. All counts of failed checkouts are totals of
the event loop, of which an outage takes the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqla_typedpool.pool.connect_rules import ErrorKind
from sqla_typedpool.pool.log import LogEvent
from sqla_typedpool.secrets import masked_repr

# Seconds that an outage lasts before it is logged, if no checkout fails.
_LOGGED_AFTER, _SILENCE_LOGGED_AFTER = 0.5, 3.0
_FIRST_INTERVAL, _LONGEST_INTERVAL = 5.0, 300.0  # seconds between two lines
# Seconds without a failed attempt after which an outage counts no more: no connection was
# needed, so nothing is known. Longer than the pause between two attempts without a waiter.
_FORGOTTEN = 60.0


@dataclass(frozen=True)
class Outage:
    """An outage that has ended."""

    ended_at: float
    seconds: float
    failed_attempts: int
    failed_checkouts: int
    # The latest error, masked.
    error: str
    # Whether its beginning has been logged.
    is_logged: bool


@dataclass(frozen=True)
class AttemptStart:
    """What is noted at the start of an attempt."""

    at: float
    # The total of failed checkouts.
    failed_checkouts: int


@dataclass(eq=False)
class _Present:
    """The present outage."""

    start: AttemptStart
    last_sign: float
    attempts: int = 0
    kind: ErrorKind | None = None  # of the latest error; None = the server does not answer
    next_line: float | None = None  # None = its beginning has not been logged


@dataclass(eq=False)
class OutageTracker:
    """The outages of one event loop."""

    # Returns an error in one line, without secrets.
    describe: Callable[[BaseException], str] = masked_repr
    # The latest error since the latest success.
    last_error: BaseException | None = None
    last_outage: Outage | None = None
    # The present outage; None = there is none.
    present: _Present | None = None

    @property
    def kind(self) -> ErrorKind | None:
        """The kind of the latest error; None = there is none, or the server does not answer."""
        return None if self.present is None else self.present.kind

    @property
    def attempts(self) -> int:
        """How many attempts of the present outage have failed or were abandoned."""
        return 0 if self.present is None else self.present.attempts

    @property
    def last_error_text(self) -> str | None:
        """The latest error since the latest success, without secrets."""
        return None if self.last_error is None else self.describe(self.last_error)

    def seconds(self, now: float) -> float:
        """How long the present outage lasts; 0 if there is none."""
        present = self.present
        if present is None or now - present.last_sign > _FORGOTTEN:
            return 0.0
        return now - present.start.at

    def failed_checkouts(self, total: int) -> int:
        """How many checkouts have failed in the present outage."""
        return 0 if self.present is None else total - self.present.start.failed_checkouts

    # --------------------------------------------------------------------- results

    def failed(
        self, error: BaseException, kind: ErrorKind, start: AttemptStart, now: float
    ) -> None:
        """An attempt has failed."""
        present = self._note(start, now)
        present.attempts += 1
        present.kind = kind
        self.last_error = error

    def silent(self, start: AttemptStart, now: float, *, is_abandoned: bool = False) -> None:
        """An attempt has not been answered for so long that others were started."""
        present = self._note(start, now)
        present.attempts += is_abandoned
        if present.kind is None:
            seconds = now - present.start.at
            self.last_error = TimeoutError(f"the server has not answered for {seconds:.1f} s")

    def _note(self, start: AttemptStart, now: float) -> _Present:
        present = self.present
        if present is None or now - present.last_sign > _FORGOTTEN:
            present = self.present = _Present(start, now)
        present.last_sign = now
        return present

    def end(self, now: float, total: int) -> Outage | None:
        """An attempt has succeeded.

        :param total: of failed checkouts.
        :return: the outage that it ends, if there was one.
        """
        present = self.present
        if present is None:
            return None
        self.last_outage = ended = Outage(
            ended_at=now,
            seconds=now - present.start.at,
            failed_attempts=present.attempts,
            failed_checkouts=self.failed_checkouts(total),
            error=self.last_error_text or "",
            is_logged=present.next_line is not None,
        )
        self.present = self.last_error = None
        return ended

    # ------------------------------------------------------------------------- lines

    def due_line(self, now: float, total: int) -> LogEvent | None:
        """Which line has to be written now; it counts as written.

        :param total: of failed checkouts.
        """
        present = self.present
        if present is None:
            return None
        age = now - present.start.at
        if present.next_line is None:
            if not self._is_worth_a_line(present, age, total):
                return None
            present.next_line = now + _FIRST_INTERVAL
            return LogEvent.OUTAGE_BEGAN
        if now < present.next_line:
            return None
        present.next_line = now + max(_FIRST_INTERVAL, min(age, _LONGEST_INTERVAL))
        return LogEvent.OUTAGE_CONTINUES

    def _is_worth_a_line(self, present: _Present, age: float, total: int) -> bool:
        if present.kind is ErrorKind.FATAL or self.failed_checkouts(total) > 0:
            return True
        is_silent = present.kind is None
        return age >= (_SILENCE_LOGGED_AFTER if is_silent else _LOGGED_AFTER)
