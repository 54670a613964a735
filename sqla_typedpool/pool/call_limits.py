"""The ``timeout=`` of a call, and what the pool reports if it ends while the call waits."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from sqla_typedpool._asyncio.time_limit import TimeLimit
from sqla_typedpool.errors import Holder


@dataclass(frozen=True)
class WaitReport:
    """Why a checkout that has ended did not get a connection."""

    # "queueing", "connecting" or "validating"
    stage: str
    # in seconds
    waited: float
    holders: Sequence[Holder]
    # The last connect error, if no attempt has succeeded since.
    connect_error: BaseException | None
    # In seconds; None = unknown.
    retry_after: float | None
    # The pool, the time and its limits, the stage, the numbers, the holders, the connect error.
    text: str
    next_step: str


class CallLimit(TimeLimit):
    """The ``timeout=`` of one call.

    :param seconds: after which the call is cancelled.
    """

    # Set by the pool if the time ended while the call waited for a connection.
    report: WaitReport | None = None


# Of the current call; None = it has no ``timeout=``. The object is the same in a task in which the
# call runs with a copy of the context (Python 3.10).
call_limit: ContextVar[CallLimit | None] = ContextVar("call_limit", default=None)
