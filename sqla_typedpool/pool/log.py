"""The records of the logger ``sqla_typedpool.pool``.

Each record has the attributes ``event`` (a stable name), ``pool`` (the pool's name) and
fields with units in their names. docs/reference/logs.md lists them.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterable
from enum import Enum
from types import FrameType
from typing import Final

from sqla_typedpool.pool.names import PoolName
from sqla_typedpool.secrets import mask_secrets

LOGGER: Final = logging.getLogger("sqla_typedpool.pool")

_STANDARD: Final = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime"))


def counted(number: int, noun: str) -> str:
    """Return "1 caller" or "2 callers"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class LogEvent(Enum):
    """What a record reports; the value is the record's attribute ``event``."""

    # An outage: no connection can be opened.
    OUTAGE_BEGAN = "outage_began"
    OUTAGE_CONTINUES = "outage_continues"
    RECOVERED = "recovered"
    # A server has become read-only.
    FAILOVER = "failover"
    # Connections that are held for long, or were not returned.
    LEAK = "leak"
    LEAK_RETURNED = "leak_returned"
    LEAKED_AT_LOOP_END = "leaked_at_loop_end"
    CLOSED_BY_FORCE = "closed_by_force"
    # A connection was returned inside a transaction.
    DIRTY_RETURN = "dirty_return"
    SLOW_CHECKOUT = "slow_checkout"
    # An overload: callers give up before they are served.
    OVERLOAD_BEGAN = "overload_began"
    OVERLOAD_ENDED = "overload_ended"
    # A task that holds a connection waits for another; every holder does.
    NESTED_CHECKOUT = "nested_checkout"
    POOL_DEADLOCK = "pool_deadlock"
    # The event loop.
    LOOP_BLOCKED = "loop_blocked"
    SEVERAL_LOOPS = "several_loops"
    # Another pool of the process has the same name.
    POOL_NAME_TAKEN = "pool_name_taken"
    # A task of the pool, or a listener that it has called, has failed.
    CLOSE_FAILED = "close_failed"
    KILL_FAILED = "kill_failed"
    TASK_FAILED = "task_failed"


class PoolLog:
    """Writes the log records of one pool. It never raises, whatever a log handler does.

    :param secrets: returns what is masked in tracebacks, beside what ``mask_secrets`` finds.
    """

    def __init__(self, name: PoolName, secrets: Callable[[], Iterable[str]] = tuple) -> None:
        self.name = name
        self._secrets = secrets

    def warning(
        self,
        event: LogEvent,
        text: str,
        *args: object,
        exc_info: BaseException | None = None,
        **fields: object,
    ) -> None:
        """Write one record at the level WARNING, see ``write``."""
        self.write(logging.WARNING, event, text, *args, exc_info=exc_info, **fields)

    def info(
        self,
        event: LogEvent,
        text: str,
        *args: object,
        exc_info: BaseException | None = None,
        **fields: object,
    ) -> None:
        """Write one record at the level INFO, see ``write``."""
        self.write(logging.INFO, event, text, *args, exc_info=exc_info, **fields)

    def write(
        self,
        level: int,
        event: LogEvent,
        text: str,
        *args: object,
        exc_info: BaseException | None = None,
        **fields: object,
    ) -> None:
        """Write one record.

        :param text: a format for ``args``; the pool's name is put before it.
        :param exc_info: an error, whose traceback is added.
        :param fields: further attributes of the record; numbers have units in their names.
        """
        try:
            if LOGGER.isEnabledFor(level):
                record = _new_record(level, f"pool %s: {text}", (str(self.name), *args))
                _add_error(record, exc_info, self._secrets)
                _add_fields(record, {**fields, "event": event.value, "pool": str(self.name)})
                LOGGER.handle(record)
        except Exception:  # noqa: BLE001 - a handler or a filter of the application
            _report_failure()

    def take_name(self) -> None:
        """The pool is used: take its name. Warn if another pool has a name that was given."""
        if self.name.take() and self.name.is_given:
            self.warning(
                LogEvent.POOL_NAME_TAKEN,
                "another pool of this process is named %s; next: give each pool its own pool_name",
                self.name.wanted,
                wanted_name=self.name.wanted,
            )


def _new_record(level: int, text: str, args: tuple[object, ...]) -> logging.LogRecord:
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    file, line, function = "(unknown)", 0, None
    if frame is not None:
        file, line, function = frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
    return LOGGER.makeRecord(LOGGER.name, level, file, line, text, args, None, function)


def _add_error(
    record: logging.LogRecord, error: BaseException | None, secrets: Callable[[], Iterable[str]]
) -> None:
    """Add a traceback; as text if it contains a secret, since each formatter formats it anew."""
    if error is None:
        return
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
    masked = mask_secrets(text, secrets())
    if masked == text:
        record.exc_info = (type(error), error, error.__traceback__)
    else:
        record.exc_text = masked


def _add_fields(record: logging.LogRecord, fields: dict[str, object]) -> None:
    for name, value in fields.items():
        setattr(record, f"{name}_" if name in _STANDARD else name, value)


def _report_failure() -> None:
    """As ``logging.Handler.handleError`` does for its own errors."""
    if logging.raiseExceptions and sys.stderr is not None:
        try:
            traceback.print_exc(file=sys.stderr)
        except Exception:  # noqa: BLE001 - standard error may be closed
            return
