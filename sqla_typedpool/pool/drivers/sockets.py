"""Polling an idle socket, and shutting a socket down."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

from sqla_typedpool.pool.drivers.base import Probe, always_alive


def descriptor_of(sock: Any) -> int:
    """The descriptor of a socket; -1 if there is none."""
    return -1 if sock is None else int(sock.fileno())


def poll(descriptor: int) -> Callable[[], int]:
    """Return a function that polls a socket without waiting.

    A socket that is readable while idle makes its connection suspect; an invalid
    descriptor means that it is dead.
    """
    if descriptor < 0 or not hasattr(select, "poll"):
        return always_alive
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)

    def probe() -> int:
        for _, event in poller.poll(0):
            return Probe.DEAD if event & select.POLLNVAL else Probe.SUSPECT
        return Probe.ALIVE

    return probe


def shut_down(descriptor: int) -> None:
    """Make everything that waits for this socket fail now.

    A duplicate of the descriptor is shut down, which works with any transport (TLS
    and uvloop included) and leaves closing to its owner.
    """
    with socket.socket(fileno=socket.dup(descriptor)) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


def close_socket(transport: Any) -> None:
    """Close the socket of a transport whose loop is closed.

    The transport itself would schedule a callback in the loop, and warn of its socket
    when it is collected.
    """
    sock = getattr(transport, "_sock", None)
    if sock is not None:
        sock.close()
        transport._sock = None
