"""Connections that a test has left open: found on the server, and explained from here."""

from __future__ import annotations

import gc
import logging
import time
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.pytest_plugin.servers import ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from sqlalchemy import RowMapping

    from sqla_typedpool.pytest_plugin.databases import Database

GRACE_SECONDS = 2.0
"""How long a connection that was closed may take to disappear from the server."""

_SESSIONS = """
    SELECT pid, application_name, state, left(query, 200) AS query
    FROM pg_stat_activity
    WHERE datname = :name AND backend_type = 'client backend'
      AND NOT (application_name = :own AND state = 'idle')
    ORDER BY backend_start
"""
_NEXT = (
    "Next: close what the test opens (async with engine.connect(), async with Session()), and"
    " dispose of its engines (await engine.dispose())."
)


class Watch(logging.Handler):
    """Looks at one test's database from its beginning to its end.

    As a handler of the pool's log it hears of connections that were out when their event loop
    ended: the pool closes those itself, and the server no longer knows of them.
    """

    def __init__(self, server: str, database: Database) -> None:
        super().__init__(logging.WARNING)
        self._server = server
        self._database = database
        self._heard: list[str] = []
        self._log = logging.getLogger(TypedPool.__module__.rpartition(".")[0])

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("leak: the event loop ends"):
            self._heard.append(record.getMessage())

    def __enter__(self) -> Watch:
        self._log.addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._log.removeHandler(self)

    def report(self) -> str:
        """What is still connected, and who holds it; "" = nothing."""
        sessions = self._sessions_after_grace()
        held = list(self._held(everywhere=bool(sessions)))
        if not (sessions or held or self._heard):
            return ""
        return "\n".join(
            [
                f"Connections to {self._database.name} were left open by this test.",
                *(_written(session) for session in sessions),
                *held,
                *(f"  {heard}" for heard in self._heard),
                _NEXT,
            ]
        )

    def _sessions_after_grace(self) -> list[RowMapping]:
        """Sessions on the server, but for the idle ones of `Database.engine()`."""
        name, own = self._database.name, self._database.application_name
        deadline = time.monotonic() + GRACE_SECONDS
        while found := list(ask(self._server, _SESSIONS, name=name, own=own)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return found

    def _held(self, everywhere: bool) -> Iterator[str]:
        """The holders of TypedPools: those of its own engines, or of all that can be found."""
        engines = [engine.sync_engine for engine in self._database.engines]
        if everywhere:
            engines = [each for each in gc.get_objects() if issubclass(type(each), Engine)]
        for engine in engines:
            pool = engine.pool
            if engine.url.database == self._database.name and isinstance(pool, TypedPool):
                yield from (f"  held in a TypedPool: {holder}" for holder in pool.holders())


def _written(session: RowMapping) -> str:
    query = " ".join((session["query"] or "").split()) or "none"
    name = session["application_name"]
    who = f" ({name})" if name else ""
    return f"  session {session['pid']}{who}: {session['state']}, last statement: {query}"
