"""Reads the states that `PoolMonitor` sends, over HTTP, and connects again when a stream ends."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import mask_secrets

State: TypeAlias = "Mapping[str, Any]"
Headers: TypeAlias = "Sequence[tuple[str, str]]"

_TIMEOUT: Final = 5.0  # seconds for an answer, and between two lines of a stream
_PAUSE: Final = 2.0  # seconds between two attempts
_MOST_BYTES: Final = 4_000_000  # of one state
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_REFUSED: Final = frozenset((401, 403))
_MOST_REDIRECTS: Final = 3
_WRONG_ADDRESS: Final = (socket.gaierror, ssl.SSLError, UnicodeError, http.client.InvalidURL)
_IN_PATH: Final = "/%~!$&'()*+,;=:@"  # what a path may contain as it is
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEYS: Final = frozenset(("time", "worker", "last_bound", "pools", "events"))
_POOL_KEYS: Final = frozenset(
    (
        *("name", "max", "now", "is_closed", "is_overloaded", "outage_seconds"),
        *("last_connect_error", "checkouts_per_second", "wait", "use", "totals", "closed"),
        *("holders", "held"),
    )
)


@dataclass(frozen=True)
class Lost:
    """There is no state now; the next attempt follows."""

    reason: str


class _Unavailable(Exception):
    """The application does not answer, perhaps because it starts."""


def header_of(given: str) -> tuple[str, str]:
    """Return the name and the value of a header given as ``Name: value``.

    :raises ValueError: it is not one. The message does not contain the value.
    """
    name, colon, value = given.partition(":")
    if not colon or not _HEADER_NAME.fullmatch(name.strip()):
        raise ValueError('a header is written "Name: value"')
    if not (value.isprintable() and value.isascii()):
        raise ValueError(f"the value of {name.strip()} must be printable ASCII, in one line")
    return name.strip(), value.strip()


def events_url(url: str) -> SplitResult:
    """Return the address of the states of the monitor at a URL.

    :raises CannotRun: it is no URL of a monitor.
    """
    hint = "next: give the URL of its PoolMonitor, such as http://127.0.0.1:8000/_pool"
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_complete = parts = None
    if not is_complete or parts is None:
        raise CannotRun(f"{mask_secrets(url) or 'the empty text'} is no http or https URL; {hint}")
    if parts.username is not None:
        raise CannotRun(
            "the URL contains a user or a password, which would be shown in lists of processes;"
            ' next: give it without them, and --header "Authorization: ..."'
        )
    path = quote(parts.path.rstrip("/").removesuffix("/events"), safe=_IN_PATH)
    query = quote(parts.query, safe=f"{_IN_PATH}?")
    return parts._replace(path=f"{path}/events", query=query, fragment="")


class MonitorClient:
    """The states of one monitor.

    :param url: the URL at which it is mounted.
    :param headers: names and values that are sent with each request.
    :raises CannotRun: the URL is wrong.
    """

    def __init__(
        self, url: str, headers: Headers, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._url = events_url(url)
        self._headers = headers
        self._sleep = sleep
        self._last = ("", 0.0)
        self._has_answered = False

    def states(self) -> Iterator[State | Lost]:
        """Yield each state once, and a `Lost` whenever the application does not answer.

        :raises CannotRun: another attempt would not help: the address or the header is wrong.
        """
        while True:
            try:
                yield from self._stream()
                reason = None
            except (OSError, UnicodeError, http.client.HTTPException, _Unavailable) as error:
                reason = self._reason(error)
            if reason is not None:
                yield Lost(reason)
                self._sleep(_PAUSE)

    def _stream(self) -> Iterator[State]:
        """Yield the states of one stream, until the server ends it."""
        is_empty = True
        with ExitStack() as opened:
            for data in _messages(self._open(opened)):
                state = _state(data)
                self._has_answered, is_empty = True, False
                moment = state["worker"], state["time"]
                if moment != self._last:  # a new stream begins with the latest state
                    self._last = moment
                    yield state
        if is_empty:
            raise _Unavailable("the stream has ended without a state")

    def _open(self, opened: ExitStack) -> http.client.HTTPResponse:
        """Request the stream; follow redirects on the same host."""
        url = self._url
        for _ in range(_MOST_REDIRECTS + 1):
            connection = opened.enter_context(closing(_connection(url)))
            response = opened.enter_context(closing(self._request(connection, url)))
            if response.status not in _REDIRECTS:
                self._require_stream(response)
                return response
            opened.close()
            url = _redirected(url, response.getheader("location") or "")
        raise CannotRun(f"{_shown(url)} redirects in a circle; next: give the URL of a PoolMonitor")

    def _request(
        self, connection: http.client.HTTPConnection, url: SplitResult
    ) -> http.client.HTTPResponse:
        target = urlunsplit(("", "", url.path, url.query, ""))
        connection.putrequest("GET", target, skip_accept_encoding=True)
        connection.putheader("Accept", "text/event-stream")
        for name, value in self._headers:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse()

    def _require_stream(self, response: http.client.HTTPResponse) -> None:
        url, status = _shown(self._url), response.status
        if status in _REFUSED:
            raise CannotRun(f"{url} refuses access ({status}); next: {self._hint()}")
        if status >= 500 or status == 429:
            raise _Unavailable(f"the answer was {status} {response.reason}")
        if status != 200 or response.headers.get_content_type() != "text/event-stream":
            raise CannotRun(
                f"{url} is not a PoolMonitor (the answer was {status}"
                f" {response.headers.get_content_type()}); next: give the URL at which it is"
                " mounted, such as http://127.0.0.1:8000/_pool"
            )

    def _hint(self) -> str:
        if not self._headers:
            return 'pass the header that authorize= accepts, such as --header "Authorization: ..."'
        names = ", ".join(name for name, _ in self._headers)
        return f"check the value of {names}, and whether authorize= needs another header"

    def _reason(self, error: Exception) -> str:
        """Return why there is no state.

        :raises CannotRun: before the first state, the address itself is wrong.
        """
        if isinstance(error, _Unavailable):
            return str(error)
        if isinstance(error, _WRONG_ADDRESS) and not self._has_answered:
            raise CannotRun(
                f"{_shown(self._url)} cannot be reached: {error}; next: check the URL"
            ) from None
        if isinstance(error, TimeoutError):
            return f"there was no answer in {_TIMEOUT:g} s"
        return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _connection(url: SplitResult) -> http.client.HTTPConnection:
    host, port = url.hostname or "", url.port
    if url.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT)
    return http.client.HTTPConnection(host, port, timeout=_TIMEOUT)


def _redirected(url: SplitResult, location: str) -> SplitResult:
    """Return where a redirect leads. The headers must not reach another host, or be sent openly."""
    target = urlsplit(urljoin(urlunsplit(url), location))
    is_upgrade = (url.scheme, target.scheme) == ("http", "https")
    is_same = (target.scheme, target.port) == (url.scheme, url.port)
    if target.hostname != url.hostname or not (is_same or is_upgrade):
        raise CannotRun(
            f"{_shown(url)} redirects to {_shown(target)}, which redirects may not do; next: give"
            " the URL of the PoolMonitor itself"
        )
    return target


def _shown(url: SplitResult) -> str:
    """Return a URL without what may be secret."""
    host = url.netloc.rpartition("@")[2]
    return urlunsplit((url.scheme, host, url.path, "***" if url.query else "", ""))


def _messages(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the data of each event without a name."""
    name, data = b"", b""
    while line := response.readline(_MOST_BYTES):
        if len(data) + len(line) >= _MOST_BYTES:
            raise _Unavailable("the state is too long")
        field, _, value = line.rstrip(b"\r\n").partition(b":")
        if field == b"event":
            name = value.strip()
        elif field == b"data":
            data += value.removeprefix(b" ")
        elif not field:
            if data and not name:
                yield data
            name, data = b"", b""


def _state(data: bytes) -> State:
    try:
        state: Any = _printable(json.loads(data))
        is_known = state.keys() >= _KEYS and all(
            each.keys() >= _POOL_KEYS for each in state["pools"]
        )
    except (ValueError, AttributeError, TypeError):
        is_known, state = False, {}
    if not is_known:
        raise CannotRun(
            "the states are not those of this version of sqla-typedpool; next: use the version that"
            " the application uses"
        )
    found: State = state
    return found


def _printable(value: Any) -> Any:
    """Replace control characters, which a terminal would obey, in all texts of a document."""
    if isinstance(value, str):
        return "".join(each if each.isprintable() else " " for each in value)
    if isinstance(value, list):
        return [_printable(each) for each in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    return value
