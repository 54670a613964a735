"""Report the connections that a test has left open, where they were checked out, and who holds
them.
"""

from __future__ import annotations

import gc
import logging
import os
import time

from sqlalchemy import Engine, RowMapping

from sqla_typedpool.ephemeral.connecting import run_statements
from sqla_typedpool.pool.log import LOGGER, LogEvent
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.pytest_plugin.checkouts import Checkouts
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


class _LoggedLeaks(logging.Handler):
    """Keeps what TypedPools log of connections that are in use when their event loop ends.

    The pool closes them then, so they are not found after the test.
    """

    def __init__(self, checkouts: Checkouts) -> None:
        super().__init__(logging.WARNING)
        self._checkouts = checkouts
        # Where the connections were checked out, or the records if that is not known.
        self.places: list[str] = []
        self.messages: list[str] = []
        LOGGER.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == LogEvent.LEAKED_AT_LOOP_END.value:
            places = self._checkouts.in_use_by(getattr(record, "pool", ""))
            self.places += places
            self.messages += [] if places else [record.getMessage()]

    def close(self) -> None:
        LOGGER.removeHandler(self)
        super().close()


class ConnectionsInUse:
    """Finds the connections, to any database, that a test has not returned to their pools."""

    def __init__(self) -> None:
        self._checkouts = Checkouts()
        self._logged = _LoggedLeaks(self._checkouts)

    def close(self) -> None:
        """Remove the listeners."""
        self._checkouts.close()
        self._logged.close()

    def report(self) -> str:
        """Return a report on the connections and their lines; "" if there are none."""
        logged = self._logged.messages
        places = dict.fromkeys([*self._logged.places, *self._checkouts.in_use()])
        if not (places or logged):
            return ""
        return _report(
            "Connections are still in use after this test:",
            [*(f"checked out at {place}" for place in places), *logged],
            "next: close what the test opens (async with engine.connect(), async with Session())",
        )


class LeakDetector:
    """Finds the connections to one database that a test leaves open."""

    def __init__(self, server: str, database: Database) -> None:
        self._server = server
        self._database = database
        self._checkouts = Checkouts()
        self._logged = _LoggedLeaks(self._checkouts)

    def close(self) -> None:
        """Remove the listeners."""
        self._checkouts.close()
        self._logged.close()

    def report(self) -> str:
        """Return a report on the open connections and their holders; "" if there are none."""
        sessions, logged = self._open_sessions(), self._logged.messages
        pools = self._pools(all_engines=bool(sessions or self._checkouts.in_use()))
        holders = [f"held in a TypedPool: {holder}" for pool in pools for holder in pool.holders()]
        place_of = self._checkouts.place_of_session
        described = [_describe_session(each, place_of(each["pid"])) for each in sessions]
        found = dict.fromkeys([*self._logged.places, *self._checkouts.in_use(pools)])
        places = [place for place in found if place not in "".join(described)]
        if not (sessions or holders or places or logged):
            return ""
        return _report(
            f"Connections to {self._database.name} were left open by this test:",
            [
                *described,
                *holders,
                *(f"checked out in a TypedPool at {place}" for place in places),
                *logged,
            ],
            _NEXT,
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

    def _pools(self, *, all_engines: bool) -> list[TypedPool]:
        """Return the TypedPools of the database.

        :param all_engines: True = of all engines in the process, False = of `Database.engine()`.
        """
        engines = [engine.sync_engine for engine in self._database.engines]
        if all_engines:
            engines = [each for each in gc.get_objects() if issubclass(type(each), Engine)]
        own = (each for each in engines if each.url.database == self._database.name)
        return [each.pool for each in own if isinstance(each.pool, TypedPool)]


def _describe_session(session: RowMapping, place: str) -> str:
    query = " ".join(mask_secrets(session["query"] or "").split()) or "none"
    name = session["application_name"]
    shown_name = f" ({name})" if name else ""
    shown_place = f", checked out at {place}" if place else ""
    state = f"{session['state']}, last statement: {query}"
    return f"session {session['pid']}{shown_name}{shown_place}: {state}"


def _report(title: str, lines: list[str], next_step: str) -> str:
    """Return a report in which the paths are relative to the working directory."""
    here = f"{os.getcwd()}{os.sep}"
    return "\n".join([title, *(f"  {each.replace(here, '')}" for each in lines), next_step])
