"""The stock queue pool's interface: its numbers, and attributes that its users assign."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy.pool import AsyncAdaptedQueuePool

from sqla_typedpool._sqlalchemy.adapters import with_own_adapters


class QueuePoolApi(AsyncAdaptedQueuePool):
    """Answers from ``shared.limits`` and ``shared.timeout``, which a subclass sets."""

    shared: Any = None
    given_recycle: float = -1

    def size(self) -> int:
        """``pool_size``."""
        return cast(int, self.shared.limits.size)

    def timeout(self) -> float:
        """``pool_timeout`` in seconds."""
        return self._timeout

    def overflow(self) -> int:
        """Connections beyond ``pool_size``; negative below it."""
        return self._overflow if self.size() else 0

    def max_lifetime_assigned(self, seconds: float) -> None:
        """``_recycle`` was assigned."""
        raise NotImplementedError

    def _should_wrap_creator(self, creator: Any) -> Any:
        return with_own_adapters(super()._should_wrap_creator(creator))

    @property
    def _overflow(self) -> int:  # type: ignore[override]
        return self.checkedin() + self.checkedout() - self.size()

    @property
    def _timeout(self) -> float:
        return cast(float, self.shared.timeout)

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        self.shared.timeout = seconds

    @property
    def _max_overflow(self) -> int:
        return self.shared.limits.max_overflow if self.size() else -1

    @_max_overflow.setter
    def _max_overflow(self, value: int) -> None:
        self.shared.limits.max_overflow = value

    @property
    def _recycle(self) -> int:
        return cast(
            int, self.given_recycle
        )  # reported, not used: the pool closes expired connections

    @_recycle.setter
    def _recycle(self, seconds: int) -> None:
        if self.shared is not None:  # the stock pools' __init__ sets it
            self.given_recycle = seconds
            self.max_lifetime_assigned(seconds)
