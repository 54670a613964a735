"""What a pool does with connections through its dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _ConnDialect, reset_none

from sqla_typedpool._sqlalchemy.asyncpg_adapter import AsyncpgAdapter


class PoolDialect:
    """One pool's dialect. SQLAlchemy may set it late, so it is read at each use."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def dialect(self) -> Any:
        """SQLAlchemy's dialect, or a stand-in for a pool without an engine."""
        return self._pool._dialect

    def needs_loop(self) -> bool:
        """Whether this is the dialect of an async engine (the stand-in is marked async too)."""
        return bool(self.dialect.is_async) and not isinstance(self.dialect, _ConnDialect)

    @property
    def ends_transactions(self) -> bool:
        """Whether a return ends the transaction: not with ``reset_on_return=None``."""
        return self._pool._reset_on_return is not reset_none

    def connect_arguments(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments that ``create_engine`` passes to the driver's connect function.

        They are taken from the closure of its creator; there are none if the application has
        its own creator.
        """
        creator: Any = self._pool._creator
        code, closure = getattr(creator, "__code__", None), getattr(creator, "__closure__", None)
        if code is None or not closure or creator.__module__ != "sqlalchemy.engine.create":
            return (), {}
        cells = dict(zip(code.co_freevars, (cell.cell_contents for cell in closure), strict=True))
        return tuple(cells.get("cargs_tup", ())), dict(cells.get("cparams", {}))

    def driver_connection(self, adapted: Any) -> Any:
        """The driver's own connection; None if it cannot be reached, such as behind a proxy."""
        if type(adapted) is AsyncpgAdapter:
            return adapted._connection  # the dialect notes an application's use
        try:
            return self.dialect.get_driver_connection(adapted)
        except AttributeError:
            return None

    def has_error_listeners(self) -> bool:
        """Whether there are listeners for errors; then a ping must pass through the dialect."""
        return bool(self.dialect._has_events)

    def is_disconnect(self, error: BaseException) -> bool:
        """Whether this driver error means that the connection is lost."""
        is_drivers = isinstance(error, self.dialect.loaded_dbapi.Error)
        return is_drivers and bool(self.dialect.is_disconnect(error, None, None))

    def ping_by_dialect(self, adapted: Any, *, rolls_back: bool) -> bool:
        """SQLAlchemy's own ping, in a greenlet; False = disconnected.

        :raises Exception: an error that is not a disconnect.
        """
        answered: bool = self.dialect._do_ping_w_event(adapted)
        if answered and rolls_back:
            self.dialect.do_rollback(adapted)
        return answered

    def close(self, adapted: Any, mode: int) -> None:
        """Close one connection through ``Pool._close_connection``.

        Every close passes there: an application or a test may replace the method to
        see them.

        :param mode: passed as ``terminate``, for which SQLAlchemy passes a bool.
        """
        self._pool._close_connection(adapted, terminate=mode)  # type: ignore[arg-type]
