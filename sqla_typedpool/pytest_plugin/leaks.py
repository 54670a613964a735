"""Report the connections that a test has left open, and who holds them."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator

from sqlalchemy import Engine, RowMapping

from sqla_typedpool.ephemeral.connecting import run_statements
from sqla_typedpool.pool.log import LOGGER, LogEvent
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.pytest_plugin.database import Database
from sqla_typedpool.secrets import mask_secrets

# How long the server may take to end the session of a closed connection, in seconds.
GRACE_SECONDS = 2.0

_SESSIONS = """
    SELECT pid, application_name, state, left(query, 200) AS query
    FROM pg_stat_activity
    WHERE datname = :name AND backend_type = 'client backend'
      AND NOT (application_name = :own AND state = 'idle')
    ORDER BY backend_start
"""
_NEXT = (
    "next: close what the test opens (async with engine.connect(), async with Session()), and"
    " dispose of its engines (await engine.dispose())"
)


class LeakDetector(logging.Handler):
    """Collects the connections to one database that a test leaves open.

    It is a handler of the pool's log, because the pool closes and logs the connections that
    are in use when their event loop ends. The server no longer lists those. ``close()`` removes
    the handler.
    """

    def __init__(self, server: str, database: Database) -> None:
        super().__init__(logging.WARNING)
        self._server = server
        self._database = database
        self._logged: list[str] = []
        LOGGER.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == LogEvent.LEAKED_AT_LOOP_END.value:
            self._logged.append(record.getMessage())

    def close(self) -> None:
        LOGGER.removeHandler(self)
        super().close()

    def report(self) -> str:
        """Return a report on the open connections and their holders; "" if there are none."""
        sessions = self._open_sessions()
        holders = list(self._holders(all_engines=bool(sessions)))
        if not (sessions or holders or self._logged):
            return ""
        return "\n".join(
            [
                f"Connections to {self._database.name} were left open by this test:",
                *map(_describe_session, sessions),
                *holders,
                *(f"  {message}" for message in self._logged),
                _NEXT,
            ]
        )

    def _open_sessions(self) -> list[RowMapping]:
        """Return the sessions on the server, except idle ones of `Database.engine()`."""
        name, own = self._database.name, self._database.application_name
        deadline = time.monotonic() + GRACE_SECONDS
        while found := list(run_statements(self._server, _SESSIONS, name=name, own=own)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return found

    def _holders(self, *, all_engines: bool) -> Iterator[str]:
        """Describe the tasks that hold connections of TypedPools to the database.

        :param all_engines: True = of all engines in the process, False = of `Database.engine()`.
        """
        engines = [engine.sync_engine for engine in self._database.engines]
        if all_engines:
            engines = [each for each in gc.get_objects() if issubclass(type(each), Engine)]
        for engine in engines:
            pool = engine.pool
            if engine.url.database == self._database.name and isinstance(pool, TypedPool):
                yield from (f"  held in a TypedPool: {holder}" for holder in pool.holders())


def _describe_session(session: RowMapping) -> str:
    query = " ".join(mask_secrets(session["query"] or "").split()) or "none"
    name = session["application_name"]
    shown_name = f" ({name})" if name else ""
    return f"  session {session['pid']}{shown_name}: {session['state']}, last statement: {query}"
