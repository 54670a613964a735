"""The database of a run: the URL of the temporary server, or that of --database-url."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from importlib.util import find_spec
from typing import Any, TypeVar

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.check.database_url import read_url
from sqla_typedpool.errors import CannotRun

T = TypeVar("T")

CONNECT_SECONDS = 8
"""The longest wait for the first answer of a database given with --database-url."""


class DemoError(Exception):
    """The demo cannot run; the message states the reason and the next step."""


def parse_url(given: str) -> URL:
    """Return a PostgreSQL URL, in any of the common forms, as a URL for asyncpg.

    :raises DemoError: it is not a URL, or a URL of another database.
    """
    try:
        url = read_url(given, "--database-url")
    except CannotRun as error:
        raise DemoError(str(error)) from None
    if url.get_backend_name() != "postgresql":
        raise DemoError(
            f"the demo needs PostgreSQL, and --database-url is {without_passwords(url)}; next:"
            " leave --database-url out to use a temporary PostgreSQL"
        )
    return _for_asyncpg(url)


def without_passwords(url: URL) -> str:
    """Return a URL as text, with *** for its password and those in its query string."""
    secrets = [key for key in url.query if "pass" in key.lower()]
    hidden = url.update_query_dict(dict.fromkeys(secrets, "***"))
    return hidden.render_as_string(hide_password=True)


def require_asyncpg() -> None:
    """Raise `DemoError` if asyncpg is not installed."""
    if find_spec("asyncpg") is None:
        raise DemoError(
            "asyncpg is not installed; next: run `make demo`, which installs it, or"
            " pip install 'sqla-typedpool[asyncpg,cli,embedded]'"
        )


def observer_engine(url: URL) -> AsyncEngine:
    """Return an engine that observes the server; it uses neither of the two pools."""
    return create_async_engine(
        url,
        poolclass=NullPool,
        connect_args={"server_settings": {"application_name": "typedpool-demo observer"}},
    )


async def first_answer(url: URL, querying: Coroutine[Any, Any, T]) -> T:
    """Await the first query on a database.

    :raises DemoError: the database cannot be used; the message states the driver's reason.
    """
    try:
        return await within(CONNECT_SECONDS, querying)
    except asyncio.TimeoutError:
        reason = f"no answer within {CONNECT_SECONDS} s"
    except Exception as error:  # noqa: BLE001 - drivers raise errors of many types in a connect
        reason = brief(error)
    if url.password:
        reason = reason.replace(str(url.password), "***")
    raise DemoError(
        f"cannot use {without_passwords(url)} ({reason}); next: check the host, port, user and"
        " password, or leave --database-url out to use a temporary PostgreSQL"
    )


def brief(error: BaseException, limit: int = 200) -> str:
    """Return an error's type and the first line of its message."""
    line, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {line}"[:limit]


async def within(seconds: float, awaitable: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine for a limited time.

    `asyncio.wait_for` is not used: before Python 3.12 it ignores a cancellation that arrives
    together with the result, and a Ctrl-C would be lost.

    :raises asyncio.TimeoutError: it has not ended in time, and was cancelled.
    """
    task = asyncio.create_task(awaitable)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise asyncio.TimeoutError
        return task.result()
    finally:
        task.cancel()


async def server_version(observer: AsyncEngine) -> str:
    """Return the server's version, such as "16.4"."""
    async with observer.connect() as connection:
        return str(await connection.scalar(text("SHOW server_version")))


async def connections_of(observer: AsyncEngine, application_name: str) -> int | None:
    """Count the server's connections with this application name; None = the server is down."""
    try:
        return await within(2, _count(observer, application_name))
    except Exception:  # noqa: BLE001 - any error means that the server is down
        return None


async def _count(observer: AsyncEngine, application_name: str) -> int:
    async with observer.connect() as connection:
        found = await connection.scalar(
            text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name"),
            {"name": application_name},
        )
    return int(found or 0)


async def accepts(observer: AsyncEngine) -> bool:
    """Whether the server accepts a connection within a second."""
    try:
        await within(1, _connect(observer))
    except Exception:  # noqa: BLE001 - refused, reset, starting up or silent
        return False
    return True


async def _connect(observer: AsyncEngine) -> None:
    async with observer.connect():
        pass


def _for_asyncpg(url: URL) -> URL:
    """Return the URL for asyncpg, which calls libpq's option `sslmode` `ssl`."""
    renamed = {("ssl" if key == "sslmode" else key): url.query[key] for key in url.query}
    return url.set(drivername="postgresql+asyncpg", query=renamed)
