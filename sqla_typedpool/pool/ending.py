"""How things come to an end: a generation of connections, a pool, an event loop.

Functions over a station, called in its loop (all but ``abandon``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqla_typedpool.errors import PoolClosed
from sqla_typedpool.pool.drivers import release
from sqla_typedpool.pool.holders import describe

if TYPE_CHECKING:
    from sqla_typedpool.pool.station import Station

__all__ = ["abandon", "dispose", "drain", "end", "refuse", "retire_all", "retire_mode"]


# Seconds that an ending loop's other asynchronous generators have to give back
# what they hold: they are being closed at the same time as ours.
_LAST_CALL = 1.0


def retire_all(station: Station) -> None:
    """Let every connection be replaced: idle ones now, the others on return."""
    _condemn_all(station, "lifetime")
    for record in list(station.slots.idle):
        station.slots.claim(record)
        station.closer.close(record, "lifetime")


def retire_mode(station: Station, mode: object) -> None:
    """Let those be replaced that were made while the server was in this mode."""
    for record in list(station.records):
        if record.mode == mode:
            record.condemn("failover")
    for record in [each for each in station.slots.idle if each.mode == mode]:
        station.slots.claim(record)
        station.closer.close(record, "failover")


def dispose(station: Station) -> None:
    """Close what is idle; what is out, or being opened, is closed when it comes back."""
    station.disposed = True
    _condemn_all(station, "dispose")
    station.keeper.stop()
    if not station.slots.waiters:
        station.stop_alarm()
    if station.loop.is_running():
        _close_idle(station, "dispose")
    else:  # nobody could wait for a farewell
        while station.slots.idle:
            station.closer.drop(station.slots.idle.pop(), "dispose")


def refuse(station: Station) -> None:
    """Hand out nothing more; those who wait are told at once."""
    station.refusing = True
    _condemn_all(station, "close")
    station.keeper.stop()
    station.connector.stop()
    while station.slots.fail_oldest(PoolClosed("this pool was closed while you waited")):
        pass
    station.stop_alarm()
    _close_idle(station, "close")


async def drain(station: Station, seconds: float) -> None:
    """Wait for every connection that is out; close the rest by force."""
    slots = station.slots
    await _returns(station, seconds)
    if slots.in_use:
        station.pool.log.warning(
            "close: %d connections were still out after %.1f s and are closed by force; held by %s",
            slots.in_use,
            seconds,
            describe(station.holders(), most=slots.in_use),
            extra={"held": slots.in_use, "timeout_seconds": seconds},
        )
        _drop_all(station, "close")
    await station.tasks.quiet(station.options.pool_reset_timeout)


async def _returns(station: Station, seconds: float) -> None:
    """Wait until every connection is back, at most so long."""
    deadline = station.clock() + seconds
    while station.slots.in_use and (left := deadline - station.clock()) > 0:
        await asyncio.wait({station.next_return()}, timeout=left)


async def end(station: Station) -> None:
    """The loop is about to close: leave nothing open in it."""
    _condemn_all(station, "loop")
    station.keeper.stop()
    station.connector.stop()
    station.stop_alarm()
    _close_idle(station, "loop")
    await _returns(station, _LAST_CALL)
    if leaked := station.leaked():
        station.pool.log.warning(
            "leak: the event loop ends while %d connections are out; held by %s",
            len(leaked),
            describe(leaked, most=len(leaked)),
            extra={"held": len(leaked)},
        )
    await station.tasks.quiet(station.options.pool_reset_timeout)
    _drop_all(station, "loop")
    station.tasks.cancel()
    station.pool.houses.part_with(station)
    await asyncio.sleep(0)  # transports tell of their end one round later


def abandon(station: Station) -> None:
    """The loop has closed without a word: let go of its sockets, without I/O."""
    for record in list(station.records):
        station.forget(record, "loop")
        if record.dbapi_connection is not None:
            release(station.pool.database.dialect, record.dbapi_connection)
            record.dbapi_connection = None
    station.slots.idle.clear()
    station.tasks.abandon()
    station.pool.houses.part_with(station)


def _condemn_all(station: Station, reason: str) -> None:
    """Connections that exist, and those being opened, go as soon as nobody needs them."""
    station.generation += 1
    station.ends_as = reason
    for record in list(station.records):  # the garbage collector may return one
        record.condemn(reason)


def _close_idle(station: Station, reason: str) -> None:
    station.shells.clear()
    while station.slots.idle:
        station.closer.close(station.slots.idle.pop(), reason)


def _drop_all(station: Station, reason: str) -> None:
    for record in list(station.records):
        station.closer.drop(record, reason)
