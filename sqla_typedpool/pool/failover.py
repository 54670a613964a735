"""A server that has become read-only under its connections.

A statement fails because nothing may be written. Either the application has asked
for a read-only transaction, and nothing is wrong with the connection. Or the server
has changed since it was reached (a standby now, or told to refuse writes), and a new
connection may well find the new primary. Which of the two is told by the mode of the
server, noted at connect and asked again when the connection comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy import greenlet_spawn
from sqla_typedpool.pool import ending
from sqla_typedpool.pool.outage import says_read_only

if TYPE_CHECKING:
    from sqla_typedpool.pool.record import TypedRecord
    from sqla_typedpool.pool.station import Station

__all__ = ["Failover", "hear"]

_DOUBTED = "read-only"
_NEVER = float("inf")


def hear(record: TypedRecord, error: BaseException) -> None:
    """A statement has failed on this connection."""
    if record.mode is not None and record.expires_at > -_NEVER and says_read_only(error):
        record.reprieve = record.expires_at
        record.condemn(_DOUBTED)  # so that its return is looked at


class Failover:
    """Asks doubted connections, and retires those made before a change."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def is_doubted(self, record: TypedRecord) -> bool:
        return record.leaves_as == _DOUBTED

    async def examine(self, record: TypedRecord) -> bool:
        """Ask again, and acquit it, or retire it and all that are as old.

        :return: whether the server has answered.
        """
        try:
            mode = await greenlet_spawn(self._station.pool.database.mode, record.dbapi_connection)
        except Exception:  # noqa: BLE001 - any failure means it is not usable
            return False
        if mode is not None and self.is_doubted(record):  # dispose() may have come meanwhile
            self._judge(record, mode)
        return mode is not None

    def _judge(self, record: TypedRecord, mode: Any) -> None:
        old = record.mode
        if mode == old:
            record.expires_at, record.leaves_as = record.reprieve, "lifetime"
            return
        self._station.pool.log.warning(
            "failover: the server's read-only mode is %r, and was %r when this connection was "
            "made; connections made before the change are replaced",
            mode,
            old,
        )
        record.condemn("failover")
        self._station.pool.houses.tell(lambda station: ending.retire_mode(station, old))
