"""aiomysql and asyncmy, for MySQL and MariaDB.

aiomysql and older versions of asyncmy read through asyncio's streams, newer versions
of asyncmy through their own protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqla_typedpool._asyncio.timers import call_later, clock_of
from sqla_typedpool.pool.drivers.base import Driver, Probe, ServerSession
from sqla_typedpool.pool.drivers.sockets import descriptor_of, poll, shut_down

# Seconds for the rows that are left of a stream; to connect again may take as long.
_REST_SECONDS = 0.05

_Probe = Callable[[], int]


class Mysql(Driver):
    """MySQL and MariaDB through aiomysql or asyncmy."""

    def __init__(self, adapter: str) -> None:
        self.adapter = adapter

    dialect_ping_opens_transaction = False
    can_abort = True
    connect_timeout_argument = "connect_timeout"
    queries_read_only = True
    # SQLAlchemy's ROLLBACK at each return ends any transaction, so no state is read.
    failed_commit_ends_transaction = True
    must_read_all_rows = True

    def make_probe(self, connection: Any) -> Callable[[], int]:
        probe_of = _stream_probe if getattr(connection, "_proto", None) is None else _protocol_probe
        return probe_of(connection, self.transport(connection), poll(self.descriptor(connection)))

    def descriptor(self, connection: Any) -> int:
        return descriptor_of(self.transport(connection).get_extra_info("socket"))

    def force_close(self, connection: Any) -> None:
        # Its own close() would first send what the server does not accept, and over
        # TLS wait half a minute for the server's answer.
        transport = self.transport(connection)
        try:
            if transport is not None:
                transport.abort()
        finally:
            connection.close()

    def has_unread_rows(self, connection: Any) -> bool:
        result = connection._result
        return result is not None and bool(result.unbuffered_active)

    async def read_rest(self, connection: Any) -> None:
        with _until_the_servers_error(connection._result):
            await connection._result._finish_unbuffered_query()

    async def read_rest_soon(self, connection: Any) -> bool:
        loop, result, is_late = asyncio.get_running_loop(), connection._result, False
        clock = clock_of(loop)
        ends = clock() + _REST_SECONDS

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            with suppress(OSError):
                shut_down(self.descriptor(connection))  # ends the wait for a row with an error

        timer = call_later(loop, _REST_SECONDS, give_up)
        try:
            with suppress(Exception), _until_the_servers_error(result):
                while result.unbuffered_active and clock() < ends:
                    await result._read_rowdata_packet_unbuffered()
        finally:
            timer.cancel()
        return not (result.unbuffered_active or is_late)

    def server_mode(self, adapted: Any) -> object:
        return bool(_run(adapted, "SELECT @@GLOBAL.read_only")[0][0])

    def server_host(self, connection: Any) -> str | None:
        peer = self.transport(connection).get_extra_info("peername")
        return str(peer[:2] if isinstance(peer, tuple) else peer)

    def server_session(self, connection: Any) -> ServerSession | None:
        # MySQL's protocol has no cancel, and a server that computes does not detect
        # that its client has disconnected. A session behind a Unix socket has no port by which
        # it can be identified.
        name = self.transport(connection).get_extra_info("sockname")
        if not isinstance(name, tuple):
            return None
        return ServerSession(int(connection.thread_id()), int(name[1]))

    def kill_statement(self, adapted: Any, session: ServerSession) -> None:
        found = _run(
            adapted,
            "SELECT ID FROM information_schema.PROCESSLIST WHERE "
            f"ID = {session.thread_id} AND HOST LIKE '%:{session.port}' AND COMMAND <> 'Sleep'",
        )
        if found:
            _run(adapted, f"KILL {session.thread_id}")


@contextmanager
def _until_the_servers_error(result: Any) -> Iterator[None]:
    """Read rows that nobody needs: an error of their statement only ends them.

    Other errors are raised; after them the connection cannot be used.
    """
    try:
        yield
    except Exception as error:
        number = error.args[0] if error.args else None
        if not isinstance(number, int) or 2000 <= number < 3000:  # numbers of the client
            raise
        result.unbuffered_active = False  # asyncmy would read on, and wait for ever


def _stream_probe(connection: Any, transport: Any, poll_socket: _Probe) -> _Probe:
    reader = connection._reader

    def probe() -> int:
        # the loop has read already, be it the end of the stream or a last message
        if transport.is_closing() or reader._eof:
            return Probe.DEAD
        return Probe.SUSPECT if reader._buffer else poll_socket()

    return probe


def _protocol_probe(connection: Any, transport: Any, poll_socket: _Probe) -> _Probe:
    protocol = connection._proto

    def probe() -> int:
        if transport.is_closing() or protocol.eof:
            return Probe.DEAD
        return Probe.SUSPECT if protocol.length != protocol.pos else poll_socket()

    return probe


def _run(adapted: Any, statement: str) -> Any:
    cursor = adapted.cursor()
    try:
        cursor.execute(statement)
        return cursor.fetchall()
    finally:
        cursor.close()
