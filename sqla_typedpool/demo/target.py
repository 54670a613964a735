"""The database of a run: the embedded server's URL, or the user's own, checked at the door."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from importlib.util import find_spec
from typing import Any, TypeVar

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.demo.load import brief

T = TypeVar("T")

CONNECT_SECONDS = 8
"""The longest wait for the first answer of a database given with --url."""
NEEDS_ASYNCPG = "The demo needs the driver asyncpg: pip install 'sqla-typedpool[demo]'."


class DemoError(Exception):
    """The demo cannot run; the message is one sentence with the next step."""


def parse_url(given: str) -> URL:
    """The URL for asyncpg, from any way PostgreSQL URLs are commonly written."""
    scheme, separator, rest = given.partition("://")
    if separator and scheme == "postgres":
        given = f"postgresql://{rest}"
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        # The text is not repeated: what does not parse may still hold a password.
        raise DemoError(
            "The --url is not a database URL; write it as postgresql://user:password@host/database."
        ) from None
    if url.get_backend_name() != "postgresql":
        raise DemoError(
            f"The demo runs on PostgreSQL only, and {shown(url)} is not; leave --url out to run"
            " it on an embedded PostgreSQL."
        )
    return _for_asyncpg(url)


def shown(url: URL) -> str:
    """A URL as people may see it: without its password, nor one hidden in the query string."""
    secrets = [key for key in url.query if "pass" in key.lower()]
    hidden = url.update_query_dict(dict.fromkeys(secrets, "***"))
    return hidden.render_as_string(hide_password=True)


def require_asyncpg() -> None:
    """Fail early, and with the command to type, where the driver is missing."""
    if find_spec("asyncpg") is None:
        raise DemoError(NEEDS_ASYNCPG)


def observer_engine(url: URL) -> AsyncEngine:
    """An engine of its own for looking on: it keeps no connection and is in neither pool."""
    return create_async_engine(
        url,
        poolclass=NullPool,
        connect_args={"server_settings": {"application_name": "typedpool-demo observer"}},
    )


async def at_the_door(url: URL, asking: Coroutine[Any, Any, T]) -> T:
    """The first things asked of a database; if it cannot answer them, a `DemoError` says why."""
    try:
        return await within(CONNECT_SECONDS, asking)
    except asyncio.TimeoutError:
        reason = f"no answer within {CONNECT_SECONDS} s"
    except Exception as error:  # noqa: BLE001 - drivers raise what they like while connecting
        reason = brief(error)
    if url.password:
        reason = reason.replace(str(url.password), "***")
    raise DemoError(
        f"Could not use {shown(url)} ({reason}); check host, port, user and password, or leave"
        " --url out to run the demo on an embedded PostgreSQL."
    )


async def within(seconds: float, asking: Coroutine[Any, Any, T]) -> T:
    """The answer, or `asyncio.TimeoutError`.

    Not `asyncio.wait_for`: before Python 3.12 it swallows a cancellation that comes together with
    the answer, and a Ctrl-C must not get lost.
    """
    task = asyncio.create_task(asking)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise asyncio.TimeoutError
        return task.result()
    finally:
        task.cancel()


async def server_version(observer: AsyncEngine) -> str:
    """The server's version as it names it, such as "16.4"."""
    async with observer.connect() as connection:
        return str(await connection.scalar(text("SHOW server_version")))


async def connections_of(observer: AsyncEngine, application_name: str) -> int | None:
    """How many connections the server holds for this name; None while it does not answer."""
    try:
        return await within(2, _count(observer, application_name))
    except Exception:  # noqa: BLE001 - the server is away, which is the answer
        return None


async def _count(observer: AsyncEngine, application_name: str) -> int:
    async with observer.connect() as connection:
        found = await connection.scalar(
            text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name"),
            {"name": application_name},
        )
    return int(found or 0)


async def accepts(observer: AsyncEngine) -> bool:
    """Whether a bare connection gets through right now, within a second."""
    try:
        await within(1, _touch(observer))
    except Exception:  # noqa: BLE001 - refused, reset, starting up, silent: all mean "not now"
        return False
    return True


async def _touch(observer: AsyncEngine) -> None:
    async with observer.connect():
        pass


def _for_asyncpg(url: URL) -> URL:
    """The same database through asyncpg, with libpq's `sslmode` under asyncpg's name."""
    renamed = {("ssl" if key == "sslmode" else key): url.query[key] for key in url.query}
    return url.set(drivername="postgresql+asyncpg", query=renamed)
