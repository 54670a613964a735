"""Ends on the server what a cancelled borrower has left running.

MySQL's protocol has no cancel, and a server that computes does not look whether its
client is still there: the statement would run on, holding its locks. A second
connection tells the server to kill it. Thread numbers are not unique for ever, nor
across a cluster, so only a session that comes from the very port our socket had is
killed; behind a proxy or on a Unix socket nothing is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqla_typedpool._sqlalchemy import greenlet_spawn, invoke_creator

if TYPE_CHECKING:
    from sqla_typedpool.pool.drivers import Session
    from sqla_typedpool.pool.station import Station

__all__ = ["Killer"]

_MERCY = 0.05  # seconds in which a short statement ends by itself
_BOUND = 2.0  # seconds for connecting and killing
_MOST = 1000  # sessions to be killed at a time; beyond it the server has other troubles


class Killer:
    """Kills the abandoned statements of one station, with one connection at a time."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._condemned: list[Session] = []
        self._is_busy = False

    def kill(self, session: Session) -> None:
        """Kill it soon, unless it ends by itself."""
        if len(self._condemned) < _MOST:
            self._condemned.append(session)
        if not self._is_busy:
            self._is_busy = True
            self._station.tasks.spawn(self._work(), "kill", self._done)

    def _done(self) -> None:
        self._is_busy = False

    async def _work(self) -> None:
        log = self._station.pool.log
        try:
            while self._condemned:
                await asyncio.sleep(_MERCY)
                await asyncio.wait_for(greenlet_spawn(self._visit), _BOUND)
        except Exception as error:  # noqa: BLE001 - the statement runs on, as without us
            log.debug("could not kill %d statements: %r", len(self._condemned), error)
            self._condemned.clear()
        finally:
            self._done()

    def _visit(self) -> None:
        """In a greenlet: connect, kill, leave."""
        pool, database = self._station.pool, self._station.pool.database
        kill = database.driver.kill
        connection = invoke_creator(pool, pool.new_record(self._station))
        try:
            while self._condemned and kill is not None:
                kill(connection, self._condemned.pop())
        finally:
            database.force_close(connection)
