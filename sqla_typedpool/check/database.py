"""A connection to the database of a check, with time limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.check.database_url import shown
from sqla_typedpool.check.libpq_options import dsn_of, with_search_path, without_libpq_options
from sqla_typedpool.describe.families import FAMILIES
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import known_secrets, mask_secrets

T = TypeVar("T")

CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 5.0


@asynccontextmanager
async def connected(
    url: URL,
    seconds: float = CONNECT_SECONDS,
    timeout_hint: str = "",
    search_path: str | None = None,
) -> AsyncGenerator[AsyncConnection, None]:
    """Open one connection, and close it at the end.

    :param seconds: the time limit for connecting.
    :param timeout_hint: what the user can do to set another limit, for the error.
    :param search_path: the ``search_path`` of the connection; None = that of the server or URL.
    :raises CannotRun: the connection cannot be opened.
    """
    engine = _engine(url, _options(url, seconds, search_path))
    try:
        connection = await _connect(engine, url, seconds, timeout_hint)
        try:
            yield connection
        finally:
            await _close(connection)
    finally:
        await engine.dispose()


def _engine(url: URL, options: dict[str, Any]) -> AsyncEngine:
    _require_file(url)
    if url.get_driver_name() == "asyncpg":
        url = without_libpq_options(url)
    try:
        return create_async_engine(url, poolclass=NullPool, connect_args=options)
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError, ValueError) as error:
        raise CannotRun(
            f"{shown(url)} cannot be used: {driver_message(error, url)}; next: correct the URL"
        ) from error


def _options(url: URL, seconds: float, search_path: str | None) -> dict[str, Any]:
    """Return the arguments of the driver: the name of the session, the time limit if the driver
    supports it, the ``search_path``, and the options of a URL that SQLAlchemy does not pass on."""
    settings: dict[str, Any] = {"application_name": "sqla-typedpool check"}
    if url.get_driver_name() == "asyncpg":
        if search_path is not None:
            settings["search_path"] = search_path
        options = {"server_settings": settings, "command_timeout": seconds}
        dsn = dsn_of(url)
        return options if dsn is None else {**options, "dsn": dsn}
    if search_path is not None and url.get_backend_name() != "postgresql":
        raise CannotRun(
            f"{shown(url)} has no search_path; next: remove --search-path and the setting"
        )
    if url.get_driver_name() != "psycopg":
        return {}
    if search_path is not None:
        given = url.query.get("options") or os.environ.get("PGOPTIONS", "")
        settings["options"] = with_search_path(str(given), search_path)
    return settings


def _require_file(url: URL) -> None:
    """SQLite would create an empty database for a wrong file name."""
    name = url.database or ""
    in_memory = name in ("", ":memory:") or name.startswith("file:") or "mode" in url.query
    if url.get_backend_name() == "sqlite" and not in_memory and not Path(name).is_file():
        raise CannotRun(f"there is no SQLite database {name}; next: correct the path in the URL")


async def _connect(
    engine: AsyncEngine, url: URL, seconds: float, timeout_hint: str
) -> AsyncConnection:
    connecting: Awaitable[AsyncConnection] = engine.connect()
    try:
        return await asyncio.wait_for(connecting, seconds)
    except (asyncio.TimeoutError, TimeoutError):
        raise CannotRun(
            f"{shown(url)} did not answer within {seconds:g} s; next: check that the server is "
            f"running{timeout_hint}"
        ) from None
    except TypeError as error:  # the driver has no such option
        raise CannotRun(
            f"{shown(url)} cannot be used: {driver_message(error, url)}; next: correct the options"
            " in the URL"
        ) from error
    except Exception as error:  # a wrong option of the URL can raise any exception
        raise CannotRun(
            f"{shown(url)} cannot be used: {driver_message(error, url)}; next: check the URL, and "
            "that the server is running"
        ) from error


async def _close(connection: AsyncConnection) -> None:
    """Close the connection within a time limit, because the server may not answer any more."""
    with contextlib.suppress(Exception):  # all descriptions have been received
        await asyncio.wait_for(connection.close(), _CLOSE_SECONDS)


def is_driver_error(error: BaseException) -> bool:
    """Return whether the database or its driver raised it, with or without SQLAlchemy's wrapper."""
    # in Python 3.10 asyncio's TimeoutError is not an OSError
    if isinstance(error, (DBAPIError, OSError, asyncio.TimeoutError)):
        return True
    package = type(error).__module__.partition(".")[0]
    drivers = (driver for family in FAMILIES.values() for driver in family.drivers)
    return package in (*drivers, "pymysql", "sqlite3")


def driver_message(error: BaseException, url: URL) -> str:
    """Return the message of a driver's error in one line, without passwords."""
    origin: Any = getattr(error, "orig", None) or error
    message = " ".join(str(origin).split()) or type(origin).__name__
    if message.startswith("<class"):  # "<class 'asyncpg...Error'>: message"
        message = message.partition(">: ")[2] or message
    known = known_secrets(url.password, url.host, url.database)
    return mask_secrets(message, (each for each in known if each != url.username))
