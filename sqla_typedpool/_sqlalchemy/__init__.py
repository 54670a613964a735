"""The one room that knows SQLAlchemy's privates and tells 2.0 from 2.1.

Each name says why it is needed; ``docs/architecture.md`` lists them. What is
here was read in SQLAlchemy 2.0.58 and 2.1.9 and is tested on both.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol, TypeVar, cast

import greenlet
from sqlalchemy import util
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool
from sqlalchemy.pool.base import _ConnDialect, _ConnectionRecord
from sqlalchemy.util.concurrency import await_only, greenlet_spawn

__all__ = [
    "AsyncAdaptedQueuePool",
    "ConnectionRecord",
    "Pool",
    "Rest",
    "Timer",
    "await_only",
    "bool_or_str",
    "bound_resets",
    "connect_arguments",
    "frames_outward",
    "greenlet_spawn",
    "hear_errors",
    "in_greenlet",
    "init_pool",
    "invoke_creator",
    "is_collecting",
    "outside_greenlet",
    "pool_close_connection",
    "pool_invalidate",
    "start",
    "stub_dialect",
]

T = TypeVar("T")

# The entry of a pool: it connects, fires the connect events, closes.
ConnectionRecord = _ConnectionRecord

init_pool = Pool.__init__
"""AsyncAdaptedQueuePool's own __init__ makes a queue that we do not use."""


bool_or_str = util.bool_or_str
"""How ``engine_from_config`` reads ``echo``."""

stub_dialect = _ConnDialect
"""What a pool without an engine has for a dialect."""

pool_close_connection = Pool._close_connection
"""Closes and logs, in place."""

pool_invalidate = Pool._invalidate
"""Notes the time of a disconnect and invalidates the one connection."""


def invoke_creator(pool: Pool, record: ConnectionRecord) -> Any:
    """A connection that is not the pool's: no events but ``do_connect``."""
    return pool._invoke_creator(record)


def in_greenlet() -> bool:
    """Whether ``await_only`` works here (2.1 has a function for it, 2.0 has not)."""
    return getattr(greenlet.getcurrent(), "__sqlalchemy_greenlet_provider__", False)


def is_collecting() -> bool:
    """Whether a return was begun by the garbage collector.

    Then ``detach()`` is called by the finaliser of a proxy nobody has any more.
    """
    frame = sys._getframe(2).f_back  # this < _do_return_conn < detach < its caller
    return frame is not None and frame.f_code.co_name == "_finalize_fairy"


def outside_greenlet(fn: Callable[..., T], *args: Any) -> T:
    """Run ``fn`` where SQLAlchemy's adapters see no greenlet.

    Their ``terminate()`` closes politely (up to 2 s) inside a greenlet and at
    once outside of one.
    """
    return cast(T, greenlet.greenlet(fn).switch(*args))


def frames_outward(frame: FrameType | None) -> Iterator[FrameType]:
    """The calling frames, across the edge of SQLAlchemy's greenlets."""
    current: greenlet.greenlet | None = greenlet.getcurrent()
    while current is not None:
        while frame is not None:
            yield frame
            frame = frame.f_back
        current = current.parent
        frame = None if current is None else current.gr_frame


class _Eager(greenlet.greenlet):
    # The mark that await_only() looks for.
    __sqlalchemy_greenlet_provider__ = True


class Rest:
    """What is left of a function that runs in a greenlet and has awaited."""

    def __init__(self, context: greenlet.greenlet, awaited: Any) -> None:
        self._context = context
        self._awaited = awaited

    async def run(self) -> None:
        """Run it to its end, in a task."""
        context = self._context
        context.parent = greenlet.getcurrent()
        while not context.dead:
            try:
                value = await self._awaited
            except BaseException as error:  # noqa: BLE001 - whatever it is, the greenlet gets it
                self._awaited = context.throw(type(error), error, error.__traceback__)
            else:
                self._awaited = context.switch(value)

    def give_up(self) -> None:
        """End it here, as if it had been cancelled at once."""
        self._context.parent = greenlet.getcurrent()
        with suppress(BaseException):
            while not self._context.dead:
                if asyncio.iscoroutine(self._awaited):
                    self._awaited.close()
                self._awaited = self._context.throw(asyncio.CancelledError)


def start(fn: Callable[..., object], *args: Any) -> Rest | None:
    """Run ``fn`` in a greenlet of its own until it first awaits.

    :return: None if it has finished already, else what is left of it.
        ``greenlet_spawn`` begins only when a task gets its turn; a close should
        begin, and be seen, at once.
    """
    context = _Eager(fn)
    awaited = context.switch(*args)
    return None if context.dead else Rest(context, awaited)


def connect_arguments(creator: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """What ``create_engine`` will pass to the driver's connect function.

    Only its own creator is read (it closes over both); a creator of the
    application's is its own affair and gives nothing.
    """
    code = getattr(creator, "__code__", None)
    closure = getattr(creator, "__closure__", None)
    if code is None or not closure or creator.__module__ != "sqlalchemy.engine.create":
        return (), {}
    cells = dict(zip(code.co_freevars, (cell.cell_contents for cell in closure), strict=True))
    return tuple(cells.get("cargs_tup", ())), dict(cells.get("cparams", {}))


def hear_errors(dialect: Any, hear: Callable[[Any, BaseException], None]) -> None:
    """Tell of each error of a statement that is no disconnect.

    SQLAlchemy asks the dialect of every driver error, listeners or not; a listener
    of ours would be visible and would make SQLAlchemy build contexts for it.

    :param hear: called with the record of the connection and the driver's error.
    """
    if getattr(dialect.is_disconnect, "_typedpool", False):
        return
    theirs = dialect.is_disconnect

    def is_disconnect(error: Any, connection: Any, cursor: Any) -> bool:
        answer: bool = theirs(error, connection, cursor)
        record = getattr(connection, "_connection_record", None)
        if not answer and record is not None:
            hear(record, error)
        return answer

    is_disconnect._typedpool = True  # type: ignore[attr-defined]
    dialect.is_disconnect = is_disconnect


# ---------------------------------------------------------------- bounded resets
#
# Connection.close() rolls back through the dialect before the pool hears of the
# return, so a pool can bound that rollback only at the dialect.


class Timer(Protocol):
    """Something that can be called off."""

    def cancel(self) -> None: ...


def bound_resets(dialect: Any, arm: Callable[[Any], Timer]) -> None:
    """Give a dialect's rollback, close and resetting commit a time limit.

    :param arm: called in the event loop with the adapted connection; sets a timer
        that makes the pending operation fail.

    A dialect that has limits already only gets new ones.
    """
    bounds = dialect.__dict__.get("_typedpool_bounds")
    if bounds is not None:
        bounds.arm = arm
        return
    bounds = dialect._typedpool_bounds = _Bounds(arm)
    dialect.do_rollback = bounds.around_rollback(dialect.do_rollback)
    dialect.do_commit = bounds.around_commit(dialect.do_commit)
    dialect.do_close = bounds.around_close(dialect.do_close)


_Operation = Callable[[Any], None]


class _Bounds:
    def __init__(self, arm: Callable[[Any], Timer]) -> None:
        self.arm = arm

    def around_rollback(self, operation: _Operation) -> _Operation:
        # asyncpg's adapter keeps its transaction; without one its rollback does
        # nothing, so nothing is called and no timer set (a third of the way back).
        plain = getattr(operation, "__func__", None) is DefaultDialect.do_rollback

        def do_rollback(subject: Any) -> None:
            try:
                if plain and subject.dbapi_connection._transaction is None:
                    return
            except AttributeError:
                pass
            self.run(operation, subject, getattr(subject, "dbapi_connection", subject))

        return do_rollback

    def around_commit(self, operation: _Operation) -> _Operation:
        def do_commit(subject: Any) -> None:
            # An application's own commit may take long. The pool's reset is the
            # one made after the last user of the proxied connection has let go.
            if getattr(subject, "_counter", 1) != 0:
                operation(subject)
            else:
                self.run(operation, subject, subject.dbapi_connection)

        return do_commit

    def around_close(self, operation: _Operation) -> _Operation:
        def do_close(connection: Any) -> None:
            self.run(operation, connection, connection)

        return do_close

    def run(self, operation: _Operation, subject: Any, connection: Any) -> None:
        if not in_greenlet():
            return operation(subject)
        timer = self.arm(connection)
        try:
            return operation(subject)
        finally:
            timer.cancel()
