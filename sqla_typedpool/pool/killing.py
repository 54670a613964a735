"""Kills the statements on the server that cancelled borrowers have left running.

MySQL's protocol has no cancel, and a server that computes does not detect that its
client has disconnected: the statement would run on and hold its locks. A second connection
sends ``KILL``. Thread ids are not unique for ever, nor in a cluster, so
only a session is killed that comes from the port our socket had. Behind a proxy or on
a Unix socket nothing is killed.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from sqla_typedpool._asyncio.tasks import BackgroundTasks, error_of
from sqla_typedpool._asyncio.timers import Deadline
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from sqla_typedpool._sqlalchemy.pool_base import invoke_creator
from sqla_typedpool.pool.backend import Backend, CloseMode
from sqla_typedpool.pool.drivers.base import ServerSession
from sqla_typedpool.pool.entry import EntryOwner, PoolEntry
from sqla_typedpool.pool.log import LogEvent, PoolLog, counted

_KILL_DELAY = 0.05  # seconds in which a short statement ends by itself
_KILL_TIMEOUT = 2.0  # seconds for connecting and killing
_MAX_SESSIONS = 1000  # waiting to be killed; a server with more has other trouble


@dataclass(eq=False)
class StatementKiller:
    """Kills the abandoned statements of one event loop, over one connection at a time."""

    backend: Backend
    tasks: BackgroundTasks
    owner: EntryOwner
    log: PoolLog
    _sessions: list[ServerSession] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    def kill(self, entry: PoolEntry) -> None:
        """Kill what this entry's connection runs, unless it ends by itself in a moment."""
        if entry.server_session is not None and len(self._sessions) < _MAX_SESSIONS:
            self._sessions.append(entry.server_session)
        self._start()

    def _start(self) -> None:
        if self._sessions and self._task is None:
            work = self._run(self.backend.new_entry(self.owner))
            self._task = self.tasks.spawn(work, "kill", self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        error = error_of(task)
        if error is not None:  # the statements run on
            self._log_failure(error)
            self._sessions.clear()
        self._start()  # for those that came in the last moment

    def _log_failure(self, error: BaseException) -> None:
        self.log.write(
            logging.DEBUG,
            LogEvent.KILL_FAILED,
            "could not kill %s: %s",
            counted(len(self._sessions), "statement"),
            text := self.backend.masked(error),
            statements=len(self._sessions),
            error=text,
        )

    async def _run(self, spare: PoolEntry) -> None:
        while self._sessions:
            await asyncio.sleep(_KILL_DELAY)
            with Deadline(self.tasks.loop, _KILL_TIMEOUT):
                await greenlet_spawn(self._connect_and_kill, spare)

    def _connect_and_kill(self, spare: PoolEntry) -> None:
        """In a greenlet: open a connection, kill, close it."""
        adapted = invoke_creator(spare.pool, spare)
        try:
            while self._sessions:
                self.backend.driver.kill_statement(adapted, self._sessions.pop())
        finally:
            self.backend.close_now(adapted, CloseMode.ABORT)
