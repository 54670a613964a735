"""What can go wrong, as one tree.

::

    TypedPoolError
    ├── PoolOptionError   (also sqlalchemy.exc.ArgumentError)
    ├── PoolTimeout       (also sqlalchemy.exc.TimeoutError)
    ├── PoolSaturated     (also sqlalchemy.exc.TimeoutError)
    └── PoolClosed        (also sqlalchemy.exc.InvalidRequestError)

Every class is also the SQLAlchemy exception an application catches today, so
existing ``except`` clauses hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import exc

if TYPE_CHECKING:
    from sqla_typedpool.pool.holders import Holder

__all__ = ["PoolClosed", "PoolOptionError", "PoolSaturated", "PoolTimeout", "TypedPoolError"]

_E = TypeVar("_E", bound=BaseException)

# SQLAlchemy's own "QueuePool limit reached" page; its advice fits ours too.
_TIMEOUT_CODE = "3o7r"


class TypedPoolError(Exception):
    """The root of everything this package raises on its own account."""


class PoolOptionError(TypedPoolError, exc.ArgumentError):
    """One or more pool options are wrong; the message names all of them."""


class PoolTimeout(TypedPoolError, exc.TimeoutError):
    """No connection was to be had within the deadline of one checkout.

    ``__cause__`` is the last connect error of the pool, if there was one since
    it last connected.
    """

    stage: str
    """What the checkout was waiting for when its time was over: ``"queueing"``
    (every connection is in use), ``"connecting"`` or ``"validating"``."""

    waited: float
    """Seconds the caller waited."""

    holders: Sequence[Holder]
    """Who holds the connections, longest first."""

    def __init__(
        self, message: str, *, stage: str, waited: float, holders: Sequence[Holder] = ()
    ) -> None:
        super().__init__(message, code=_TIMEOUT_CODE)
        self.stage = stage
        self.waited = waited
        self.holders = holders


class PoolSaturated(TypedPoolError, exc.TimeoutError):
    """More callers are waiting than ``pool_max_waiting`` allows; raised at once."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=_TIMEOUT_CODE)


class PoolClosed(TypedPoolError, exc.InvalidRequestError):
    """The pool was closed with ``TypedPool.close()`` and hands out nothing more."""


def copy_error(error: _E) -> _E:
    """Give each of many waiters an exception of its own.

    One exception object raised in many tasks shares, and grows, its traceback.
    An exception that cannot be copied is returned as it is.
    """
    kind = type(error)
    try:
        twin: Any = kind.__new__(kind, *error.args)
        twin.args = error.args
        twin.__dict__.update(error.__dict__)
    except Exception:  # noqa: BLE001 - its constructor may do anything
        return error
    twin.__cause__ = error.__cause__
    twin.__suppress_context__ = error.__suppress_context__
    done: _E = twin.with_traceback(error.__traceback__)
    return done
