"""What the event loops of one pool share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqla_typedpool.errors import PoolClosed
from sqla_typedpool.pool.backend import Backend
from sqla_typedpool.pool.connecting import FirstConnectLock
from sqla_typedpool.pool.durations import Durations
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.log import PoolLog
from sqla_typedpool.pool.options import ResolvedOptions
from sqla_typedpool.pool.slots import Limits
from sqla_typedpool.pool.stats import Keep


@dataclass(eq=False)
class Shared:
    """The settings and tools of one pool. SQLAlchemy's helpers change some settings later."""

    options: ResolvedOptions
    limits: Limits
    # ``pool_timeout`` in seconds; 0 or less = do not queue; None = no limit.
    timeout: float | None
    backend: Backend
    log: PoolLog
    first_connect: FirstConnectLock = field(default_factory=FirstConnectLock)
    # ``close()`` has been called.
    is_closed: bool = False
    # It has been logged that a transaction was left open, with ``reset_on_return=None``.
    open_transaction_reported: bool = False
    # Where single durations are kept; None = they are not.
    durations: Durations | None = None
    # Its function that gets them, for new event loops.
    keep_durations: Keep | None = None
    # The lines whose nested checkouts were logged, see ``NestedCheckouts``.
    nested_sites: set[tuple[str, int]] = field(default_factory=set)
    # Evict the entries of every event loop for which a predicate holds.
    evict_everywhere: Callable[[Callable[[PoolEntry], bool]], object] = field(init=False)
    # How many connections there are in all event loops, without those being closed.
    count_connections: Callable[[], int] = field(init=False)

    @property
    def name(self) -> str:
        """The pool's name: in each log record and each error of the pool."""
        return str(self.log.name)

    @property
    def timeout_text(self) -> str:
        """The limit of a checkout's time, as messages show it."""
        return f"pool_timeout={None if self.timeout is None else f'{self.timeout:g}'}"

    def closed_error(self, reason: str) -> PoolClosed:
        """The error of a checkout that is refused."""
        return PoolClosed(f"pool {self.name}: {reason}")
