"""The functions that an integration has the pool call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from sqla_typedpool.pool.call_sites import CallSite

# Gets the pool's name, the seconds of the wait, and the error that ended it, if there is one.
# It is called in the task and the context of the caller, and must not raise.
WaitObserver: TypeAlias = Callable[[str, float, "BaseException | None"], object]

# Called at the end of each checkout that waited, of any pool; None = nothing is called.
checkout_waited: WaitObserver | None = None

# Gets the record of a connection, and where the connection is checked out. It must not raise.
SiteObserver: TypeAlias = Callable[[Any, "CallSite | None"], object]

# Called at each checkout. It is read when a pool is first used in an event loop: only then, or with
# ``pool_leak_threshold``, the pool finds the lines of checkouts.
site_noted: SiteObserver | None = None
