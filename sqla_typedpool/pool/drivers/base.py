"""What the pool needs of a driver, and the defaults for an unknown one.

A driver implements only what SQLAlchemy's dialects cannot do: check an idle socket and
the state of the transaction without a round trip, ping in a single round trip, close
without waiting. An unknown driver works through its dialect alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Any, NamedTuple


class Probe(IntEnum):
    """The result of a local probe: a check of an idle connection without a round trip."""

    # No sign that it is closed.
    ALIVE = 0
    # Closed.
    DEAD = 1
    # The server has sent unexpected data: ping before use.
    SUSPECT = 2
    # Inside a transaction, or a cancelled statement has not ended: roll back before use.
    IN_TRANSACTION = 3


# The probe of a driver without a socket: ``int()`` returns 0, without a Python call.
always_alive: Callable[[], int] = int

# The transaction check of a driver whose state cannot be read: ``bool()`` returns False.
never_in_transaction: Callable[[], bool] = bool


class NotReusable(Exception):
    """The connection of a cancelled statement answers, but has to be closed."""


class SetAside(NamedTuple):
    """The connection of a cancelled statement, which its borrower can no longer reach."""

    # SQLAlchemy's adapter of it for the next borrower.
    adapted: Any
    # Ends what the statement has left, in one round trip after the driver's cancel request.
    # Raises an error if the connection cannot be used any more, ``NotReusable`` if it answers.
    end_statement: Callable[[], Awaitable[None]]


class ServerSession(NamedTuple):
    """The identification of a connection on its server."""

    thread_id: int
    # The client's port.
    port: int


class Driver:
    """The defaults for an unknown driver; subclasses override them.

    ``connection`` is the driver's own connection, ``adapted`` SQLAlchemy's adapter of it.
    """

    # False if a connection cannot become stale (a file).
    needs_ping = True
    # Whether ``ping`` exists; else the dialect pings.
    has_ping = False
    # The class of SQLAlchemy's adapter that this was written for; ``ping`` is used on no other.
    adapter = ""
    # Whether ``Dialect.do_ping`` may open a transaction that must be rolled back.
    dialect_ping_opens_transaction = True
    # Whether a connection given up by SQLAlchemy is worth a graceful close.
    terminates_gracefully = True
    # Whether a thread opens, uses and closes a connection: it cannot be cancelled, and reports to
    # the loop.
    works_in_thread = False
    # The connect argument that limits a connection attempt, in seconds.
    connect_timeout_argument = ""
    # Whether the rows of a statement must all be read before the connection can be used again.
    must_read_all_rows = False
    # Whether ``descriptor`` gives a socket that can be shut down.
    can_abort = False
    # Whether ``server_mode`` detects a server that becomes read-only without a round trip.
    reports_read_only = False
    # Whether ``server_mode`` queries the server, in a round trip.
    queries_read_only = False
    # Whether a transaction is over when its COMMIT has failed.
    failed_commit_ends_transaction = False
    # Whether connections can be inside a transaction at all times, which then shows nothing.
    may_begin_implicitly = False

    def make_probe(self, connection: Any) -> Callable[[], int]:
        """A function that returns a ``Probe`` of this connection."""
        return always_alive

    def make_transaction_check(self, connection: Any) -> Callable[[], bool]:
        """A function that reads, without a round trip, whether a transaction may be open.

        It is called at each return, and must not raise.
        """
        return never_in_transaction

    async def roll_back(self, connection: Any) -> None:
        """End an open transaction, and wait until the connection is ready for the next one."""
        await connection.rollback()

    async def ping(self, connection: Any) -> None:
        """One round trip that leaves no transaction open; any error means unusable."""
        raise NotImplementedError

    def descriptor(self, connection: Any) -> int:
        """The file descriptor of its socket; -1 = none."""
        return -1

    def force_close(self, connection: Any) -> Awaitable[object] | None:
        """Close at once, without telling the server.

        :return: something that may be awaited to see the end.
        :raises NotImplementedError: the dialect closes it.
        """
        raise NotImplementedError

    def set_aside(self, connection: Any, adapted: Any, record: Any) -> SetAside | None:
        """Take the connection of a cancelled statement from its borrower; nothing is awaited.

        It is called only if nothing was committed in this checkout.

        :param record: the entry of the connection.
        :return: None if the connection has to be closed.
        """
        return None

    def transport(self, connection: Any) -> Any:
        """Its asyncio transport; None if it has none or hides it."""
        writer = getattr(connection, "_writer", None)
        return getattr(connection, "_transport", None) or getattr(writer, "transport", None)

    def server_mode(self, adapted: Any) -> object:
        """Return the driver's value for "is the server read-only"; None = it is not reported."""
        return None

    def server_host(self, connection: Any) -> str | None:
        """Which server it is connected to, for a driver that queries its mode."""
        return None

    def server_session(self, connection: Any) -> ServerSession | None:
        """How to name it to ``kill_statement``; None if statements need not be killed."""
        return None

    def kill_statement(self, adapted: Any, session: ServerSession) -> None:
        """End what this session does, over another connection; call it in a greenlet."""

    def has_unread_rows(self, connection: Any) -> bool:
        """Whether the rows of a statement have not all been read."""
        return False

    async def read_rest(self, connection: Any) -> None:
        """Read and drop all its unread rows."""

    async def read_rest_soon(self, connection: Any) -> bool:
        """Read and drop the unread rows that arrive in a moment.

        :return: False if there are more; the connection cannot be used any more.
        """
        return True
