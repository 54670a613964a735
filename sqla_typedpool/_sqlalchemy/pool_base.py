"""What the pool uses of SQLAlchemy's own pool classes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import util
from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _ConnectionRecord

__all__ = ["Pool"]  # of SQLAlchemy, imported from here

# The base initialiser; ``AsyncAdaptedQueuePool.__init__`` creates a queue that is not used.
init_pool = Pool.__init__

# Closes a connection through the dialect, in the current greenlet, and logs it.
close_in_place = Pool._close_connection

# Stores the time of a disconnect, and invalidates the one connection.
invalidate_pool = Pool._invalidate

# Converts ``echo`` as ``engine_from_config`` does.
bool_or_str = util.bool_or_str

# Connects at once, in the current greenlet.
stock_record = _ConnectionRecord


def pool_of(record: Any) -> Pool:
    """The pool of a connection's record."""
    pool: Pool = record._ConnectionRecord__pool
    return pool


def invoke_creator(pool: Pool, record: _ConnectionRecord) -> Any:
    """Open a connection that the pool does not manage: no event but ``do_connect``."""
    return pool._invoke_creator(record)
