"""What psycopg sends to the server, from libpq's trace of the protocol."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import pytest
from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine


class Sent:
    """The messages since the last call of one of the methods."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def _messages(self) -> list[list[str]]:
        lines = [line.rstrip("\n").split("\t") for line in self._file.readlines()]
        return [line[2:] for line in lines if line[0] == "F"]  # of the client

    def sql(self) -> list[str]:
        """Return the SQL of each statement that was sent as text, prepared statements included."""
        messages = self._messages()
        return [text[1].split('"')[-2] for text in messages if text[0] in ("Query", "Parse")]

    def round_trips(self) -> int:
        """Return how many times the server was asked to answer."""
        return sum(message[0] in ("Query", "Sync") for message in self._messages())


@contextmanager
def sent_by(engine: AsyncEngine) -> Iterator[Sent]:
    """Trace the connections that an engine opens from now on."""
    pq = pytest.importorskip("psycopg").pq
    with tempfile.NamedTemporaryFile("a") as written, open(written.name) as file:

        @event.listens_for(engine.sync_engine, "connect")
        def trace(connection: Any, record: object) -> None:
            pgconn = connection.driver_connection.pgconn
            pgconn.trace(written.fileno())
            pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)

        yield Sent(file)
