"""A scripted HTTP server on 127.0.0.1, in a thread, for clients of server-sent events."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class EventServer:
    """Gives each request the next answer; the last one answers all further requests."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = list(answers)
        self.requests: list[tuple[str, dict[str, str]]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.requests.append((self.path, dict(self.headers)))
                owner._next()(self)

            def log_message(self, *arguments: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/_pool"

    def _next(self) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @classmethod
    @contextmanager
    def answering(cls, *answers: Answer) -> Iterator[EventServer]:
        """Serve inside the block."""
        server = cls(answers)
        thread = threading.Thread(target=server._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server._server.shutdown()
            thread.join()
            server._server.server_close()


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """Return an answer with this status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def stream(*chunks: bytes, kind: str = "text/event-stream; charset=utf-8") -> Answer:
    """Return an answer that sends these bytes and ends."""
    return status(200, b"".join(chunks), **{"Content-Type": kind})


def event(state: Any, name: str = "") -> bytes:
    """Return a state as an event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(state)}\n\n".encode()


def state_of(number: int = 1, **pool: Any) -> dict[str, Any]:
    """Return a state with one pool."""
    measured = {"count": 9, "p50": 0.0001, "p95": 0.05, "p99": None}
    present = {
        "name": "orders",
        "max": 10,
        "now": {"in_use": 8, "idle": 1, "connecting": 1, "waiting": 0},
        "longest_use": 1.5,
        "is_closed": False,
        "is_overloaded": False,
        "outage_seconds": 0.0,
        "last_connect_error": None,
        "window_seconds": 10.0,
        "checkouts_per_second": 35.71,
        "wait": measured,
        "use": {"count": 0, "p50": None, "p95": None, "p99": None},
        "totals": {
            **dict.fromkeys(("checkouts", "timeouts", "saturated", "shed", "cancelled"), 3),
            **dict.fromkeys(("overloads", "leaks", "connects", "connect_failures"), 0),
            **dict.fromkeys(("dirty_returns", "kept_cancelled"), 0),
        },
        "closed": {"ping": 2},
        "holders": [
            {
                "task": "Task-7",
                "seconds": 1.5,
                "where": "/app/shop/orders/services/orders.py:17 in find",
                "label": "GET /orders/{id}",
                "query": None,
            }
        ],
        "held": 8,
    }
    return {
        "time": 1_700_000_000.0 + number,
        "worker": "web-1:17",
        "last_bound": 10.0,
        "pools": [{**present, **pool}],
        "events": [],
    }
