"""The log lines of an outage: when it begins, while it lasts, when it ends."""

from __future__ import annotations

from dataclasses import dataclass

from sqla_typedpool.pool.connect_rules import ErrorKind
from sqla_typedpool.pool.log import LogEvent, counted
from sqla_typedpool.pool.outages import Outage, OutageTracker
from sqla_typedpool.pool.shared import Shared

_SHORTEST = 0.01  # seconds that are written: an error that no retry can correct is logged at once


@dataclass(eq=False)
class OutageLog:
    """Writes what an ``OutageTracker`` has recorded."""

    shared: Shared
    outages: OutageTracker

    def write_due_line(self, now: float, total: int, waiting: int, working: int) -> None:
        """Write the line that is due, if one is.

        :param total: of failed checkouts.
        :param waiting: callers that wait for a connection.
        :param working: connections in use or being validated.
        """
        event, outages = self.outages.due_line(now, total), self.outages
        if event is None:
            return
        begins = event is LogEvent.OUTAGE_BEGAN
        seconds, failed = outages.seconds(now), outages.failed_checkouts(total)
        self.shared.log.warning(
            event,
            "outage %s: no connection could be opened%s; %s; %s, %s, %d waiting; %s",
            "began" if begins else "continues",
            f" for {seconds:.2f} s" if seconds >= _SHORTEST else "",
            outages.last_error_text,
            counted(outages.attempts, "failed attempt"),
            counted(failed, "failed checkout"),
            waiting,
            self._what_callers_get(working, seconds),
            outage_seconds=seconds,
            failed_attempts=outages.attempts,
            failed_checkouts=failed,
            waiting_callers=waiting,
            working_connections=working,
            retry_seconds=self.shared.options.pool_connect_retry,
            error=outages.last_error_text,
        )

    def write_end(self, outage: Outage) -> None:
        """Write that an outage has ended, if its beginning was written."""
        if not outage.is_logged:
            return
        self.shared.log.warning(
            LogEvent.RECOVERED,
            "recovered: connected again after %.2f s, %s and %s; the last error was %s",
            outage.seconds,
            counted(outage.failed_attempts, "failed attempt"),
            counted(outage.failed_checkouts, "failed checkout"),
            outage.error,
            outage_seconds=outage.seconds,
            failed_attempts=outage.failed_attempts,
            failed_checkouts=outage.failed_checkouts,
            error=outage.error,
        )

    def _what_callers_get(self, working: int, seconds: float) -> str:
        kind, limit = self.outages.kind, self.shared.timeout_text
        others = counted(working, "other connection")
        if kind is ErrorKind.FATAL and working:
            return f"callers wait for {others} to be returned, or get the error in turn"
        if kind in (ErrorKind.FATAL, ErrorKind.UNKNOWN) and not working:
            return "callers get the error at once"
        if kind in (ErrorKind.FULL, ErrorKind.UNKNOWN) and working:
            return f"callers wait for {others} to be returned ({limit})"
        if kind is None:
            return f"callers are kept until their deadline ({limit})"
        retry = self.shared.options.pool_connect_retry
        if seconds >= retry:
            return f"callers get the result of one attempt (pool_connect_retry={retry:g} is over)"
        return f"callers are kept for {retry:g} s from its beginning (pool_connect_retry; {limit})"
