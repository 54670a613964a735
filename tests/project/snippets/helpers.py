"""What hidden blocks of the pages import."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx


@contextmanager
def log_lines(name: str, level: int = logging.DEBUG) -> Iterator[None]:
    """Print the records of a logger inside the block, as `LEVEL name: message`."""
    logger = logging.getLogger(name)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Start an ASGI application, and yield a client for its requests."""
    start = app.router.lifespan_context(app) if hasattr(app, "router") else app.lifespan()
    transport = httpx.ASGITransport(app=app)
    async with start, httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client
