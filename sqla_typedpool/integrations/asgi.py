"""Health, numbers and metrics of pools as an ASGI application, for any framework.

====================  ===========  ===================================================
path                  access       content
====================  ===========  ===================================================
``/livez``            public       200: the event loop runs
``/readyz``           public       200 or 503: whether the pools can serve requests
``/stats.json``       authorized   the numbers of each pool, and who holds connections
``/metrics``          authorized   the same for Prometheus
``/``                 authorized   a live page; its parts are ``/live.js`` and ``/live.css``
``/events``           authorized   the data of the page, once a second
====================  ===========  ===================================================
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.resources import files
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.errors import CannotRun, PoolTimeout, StatementTimeout
from sqla_typedpool.fetch.api import fetch_one
from sqla_typedpool.integrations.live import EVENT_STREAM, NO_BUFFERING, LiveData, stream_events
from sqla_typedpool.integrations.live_state import keep_events
from sqla_typedpool.pool.pool import TypedPool

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Authorize: TypeAlias = Callable[[Scope], bool | Awaitable[bool]]
"""Gets the ASGI scope of a request, and returns whether it is allowed; it may be async."""

_JSON: Final = "application/json"
_HEALTH: Final = "application/health+json"
_TEXT: Final = "text/plain; charset=utf-8"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
)


@dataclass(frozen=True)
class _Response:
    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True)
class _Readiness:
    """Whether a pool can serve requests, and why."""

    is_ready: bool
    reason: str


def _text(status: int, sentence: str) -> _Response:
    return _Response(status, _TEXT, f"{sentence}\n".encode())


class PoolMonitor:
    """An ASGI application that reports on pools; mount it anywhere.

    :param engines: engines with a `TypedPool`.
    :param authorize: decides about each request to a path that is not public. It gets the
        ASGI scope, and returns whether the request is allowed; it may be async.
    :param unsafe_public: allow everybody everything. For tests, and behind a proxy that does
        not pass these paths on.
    :param probe_timeout: None = ``/readyz`` looks at the state of the pools only. A number of
        seconds: it also runs ``SELECT 1`` on each, unless every connection is in use.
    :raises TypeError: an engine has another pool.

    Example::

        monitor = PoolMonitor(engine, authorize=is_admin)
        app = Starlette(routes=[Mount("/_pool", monitor)])
    """

    def __init__(
        self,
        *engines: AsyncEngine,
        authorize: Authorize | None = None,
        unsafe_public: bool = False,
        probe_timeout: float | None = None,
    ) -> None:
        for each in engines:
            TypedPool.of(each)
        self._engines = engines
        self._authorize = authorize
        self._is_public = unsafe_public
        self._probe_timeout = probe_timeout
        self._probes: dict[AsyncEngine, asyncio.Task[_Readiness]] = {}
        self._log = keep_events(self, engines)
        self._live: dict[asyncio.AbstractEventLoop, LiveData] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; ASGI servers and frameworks call it."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            response = await self._respond(scope)
            if response is None:
                await stream_events(self._live_data(), receive, send)
            else:
                await _send(response, scope, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _respond(self, scope: Scope) -> _Response | None:
        """Return the response; None for a stream of events."""
        path = _path(scope)
        route = _PUBLIC.get(path) or _AUTHORIZED.get(path)
        if route is None:
            return _text(404, f"there is nothing at {path}")
        if scope["method"] not in ("GET", "HEAD"):
            return _Response(405, _TEXT, b"use GET\n", ((b"allow", b"GET, HEAD"),))
        if path not in _PUBLIC and not await self._is_authorized(scope):
            if self._authorize is None:
                return _text(403, "forbidden: PoolMonitor has no authorize= function")
            return _text(403, "forbidden")
        if path == "/" and not (_address(scope) or b"/").endswith(b"/"):
            return _redirect(scope)  # the page refers to its parts relative to itself
        if path == "/events" and scope["method"] == "HEAD":
            return _Response(200, EVENT_STREAM, b"", (NO_BUFFERING,))
        return await route(self)

    async def _is_authorized(self, scope: Scope) -> bool:
        if self._is_public:
            return True
        if self._authorize is None:
            return False
        answer = self._authorize(scope)
        return (await answer if inspect.isawaitable(answer) else answer) is True

    # ---------------------------------------------------------------------- paths

    async def _livez(self) -> _Response:
        return _Response(200, _HEALTH, b'{"status": "pass"}')

    async def _readyz(self) -> _Response:
        found = await asyncio.gather(*map(self._readiness, self._engines))
        is_ready = all(each.is_ready for each in found)
        checks = {
            f"{_public_name(engine, number)}:connections": [
                {
                    "componentType": "datastore",
                    "status": _status(each.is_ready),
                    "output": each.reason,
                }
            ]
            for number, (engine, each) in enumerate(zip(self._engines, found, strict=True), start=1)
        }
        body = json.dumps({"status": _status(is_ready), "checks": checks}, indent=2)
        return _Response(200 if is_ready else 503, _HEALTH, body.encode())

    async def _stats(self) -> _Response:
        pools = [_numbers(TypedPool.of(engine)) for engine in self._engines]
        return _Response(200, _JSON, json.dumps({"pools": pools}, indent=2).encode())

    async def _metrics(self) -> _Response:
        try:
            prometheus = import_module("sqla_typedpool.integrations.prometheus")
            client = import_module("prometheus_client")
        except ImportError:
            hint = 'pip install "sqla-typedpool[prometheus]"'
            return _text(404, f"prometheus_client is not installed; next: {hint}")
        registry = client.CollectorRegistry()
        try:
            prometheus.collect_from(*self._engines, registry=registry)
        except CannotRun as error:
            return _text(501, str(error))
        return _Response(200, client.CONTENT_TYPE_LATEST, client.generate_latest(registry))

    # ------------------------------------------------------------------- live page

    async def _page(self) -> _Response:
        return _file("live.html", "text/html; charset=utf-8")

    async def _script(self) -> _Response:
        return _file("live.js", "text/javascript; charset=utf-8")

    async def _styles(self) -> _Response:
        return _file("live.css", "text/css; charset=utf-8")

    async def _events(self) -> _Response | None:
        return None

    def _live_data(self) -> LiveData:
        """Return the live data of the running loop."""
        for each in list(self._live):  # another thread may add its loop
            if each.is_closed():
                del self._live[each]
        loop = asyncio.get_running_loop()
        return self._live.setdefault(loop, LiveData(self._engines, self._log))

    # ------------------------------------------------------------------ readiness

    async def _readiness(self, engine: AsyncEngine) -> _Readiness:
        pool = TypedPool.of(engine)
        found = _readiness_of(pool)
        if not found.is_ready or self._probe_timeout is None:
            return found
        stats = pool.stats()
        if stats.waiting or (stats.max is not None and stats.in_use >= stats.max):
            return _Readiness(True, "every connection is in use, so none was probed")
        return await self._probed(engine, self._probe_timeout)

    async def _probed(self, engine: AsyncEngine, timeout: float) -> _Readiness:
        """Run a statement; requests at the same time share one."""
        task = self._probes.get(engine)
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._probes[engine] = asyncio.ensure_future(_probe(engine, timeout))
        return await asyncio.shield(task)


_Route: TypeAlias = "Callable[[PoolMonitor], Awaitable[_Response | None]]"
_PUBLIC: Final[Mapping[str, _Route]] = {
    "/livez": PoolMonitor._livez,
    "/readyz": PoolMonitor._readyz,
}
_AUTHORIZED: Final[Mapping[str, _Route]] = {
    "/": PoolMonitor._page,
    "/live.js": PoolMonitor._script,
    "/live.css": PoolMonitor._styles,
    "/events": PoolMonitor._events,
    "/stats.json": PoolMonitor._stats,
    "/metrics": PoolMonitor._metrics,
}


def _address(scope: Scope) -> bytes:
    """Return the path that the client has sent. Frameworks change `path`, but not `raw_path`."""
    given: bytes | None = scope.get("raw_path")
    return given or quote(str(scope["path"]) or str(scope.get("root_path", ""))).encode()


def _redirect(scope: Scope) -> _Response:
    # relative, since a proxy may have removed the beginning of the path
    location = b"./" + _address(scope).rpartition(b"/")[2] + b"/"
    return _Response(307, _TEXT, b"the page is one level below\n", ((b"location", location),))


def _file(name: str, content_type: str) -> _Response:
    return _Response(
        200, content_type, files("sqla_typedpool.integrations").joinpath(name).read_bytes(), _PAGE
    )


def _path(scope: Scope) -> str:
    """Return the path below the place at which the application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    # Servers disagree whether `path` includes `root_path`. Starlette adds the place of a mount to
    # it, also if `path` does not include what was in it before (`app_root_path`).
    for prefix in (root, root.removeprefix(str(scope.get("app_root_path", "")))):
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            path = path[len(prefix) :]
            break
    return path.rstrip("/") or "/"  # Litestar adds a slash


def _readiness_of(pool: TypedPool) -> _Readiness:
    """Return whether a pool can serve requests, from its state."""
    stats, retry = pool.stats(), pool.options.pool_connect_retry
    if pool.shared.is_closed:
        return _Readiness(False, "the pool is closed")
    if stats.outage_seconds > retry and not stats.idle + stats.in_use:
        return _Readiness(False, f"no connection could be opened for {stats.outage_seconds:.1f} s")
    return _Readiness(True, "ready")


async def _probe(engine: AsyncEngine, timeout: float) -> _Readiness:
    try:
        await fetch_one(engine, object, "SELECT 1", timeout=timeout)
    except (PoolTimeout, StatementTimeout) as error:
        stage = getattr(error, "stage", None)
        if stage == "queueing":
            return _Readiness(True, "every connection is in use, so none was probed")
        return _Readiness(False, f"the probe got no answer in {timeout:g} s")
    except Exception as error:  # noqa: BLE001 - whatever it is, the pool is not ready
        return _Readiness(False, f"the probe failed with {type(error).__name__}")
    return _Readiness(True, "ready")


def _status(is_ready: bool) -> str:
    return "pass" if is_ready else "fail"


def _public_name(engine: AsyncEngine, number: int) -> str:
    """Return the name that the application has given; the default contains the host."""
    pool = TypedPool.of(engine)
    return pool.shared.name if pool.options.pool_name else f"pool-{number}"


# ------------------------------------------------------------------------- content


def _numbers(pool: TypedPool) -> dict[str, Any]:
    holders = [asdict(each) for each in pool.holders()]
    return {**_as_json(asdict(pool.stats())), "holders": holders}


def _as_json(value: Any) -> Any:
    """Convert a mapping with numbers as keys, one of which is infinite."""
    if not isinstance(value, Mapping):
        return value
    return {_key(key): _as_json(each) for key, each in value.items()}


def _key(key: Any) -> str:
    return "+Inf" if isinstance(key, float) and math.isinf(key) else str(key)


# ---------------------------------------------------------------------------- ASGI


async def _send(response: _Response, scope: Scope, send: Send) -> None:
    headers = [
        (b"content-type", response.content_type.encode()),
        (b"content-length", str(len(response.body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else response.body
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
