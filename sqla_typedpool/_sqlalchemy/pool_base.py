"""What the pool uses of SQLAlchemy's own pool classes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import util
from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _ConnectionRecord

__all__ = [
    "Pool",
    "bool_or_str",
    "close_in_place",
    "init_pool",
    "invalidate_pool",
    "invoke_creator",
    "stock_record",
]

init_pool = Pool.__init__
"""The base initialiser; ``AsyncAdaptedQueuePool.__init__`` creates a queue that is not used."""

close_in_place = Pool._close_connection
"""Close a connection through the dialect in the caller's path, and log it."""

invalidate_pool = Pool._invalidate
"""Note the time of a disconnect, and invalidate the one connection."""

bool_or_str = util.bool_or_str
"""How ``engine_from_config`` reads ``echo``."""

stock_record = _ConnectionRecord
"""Connects at once, in the caller's path."""


def invoke_creator(pool: Pool, record: _ConnectionRecord) -> Any:
    """Open a connection that the pool does not manage: no event but ``do_connect``."""
    return pool._invoke_creator(record)
