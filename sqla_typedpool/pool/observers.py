"""The function that an integration has the pool call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

# Gets the pool's name, the seconds of the wait, and the error that ended it, if there is one.
# It is called in the task and the context of the caller, and must not raise.
WaitObserver: TypeAlias = Callable[[str, float, "BaseException | None"], object]

# Called at the end of each checkout that waited, of any pool; None = nothing is called.
checkout_waited: WaitObserver | None = None
