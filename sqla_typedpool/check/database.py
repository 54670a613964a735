"""The database that is asked: its URL, as people write it, and an engine that is bounded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.describe.families import FAMILIES
from sqla_typedpool.errors import CannotRun

T = TypeVar("T")

CONNECT_SECONDS = 10.0
_CLOSE_SECONDS = 5.0

# What hosters put into their URLs for libpq; a check does without.
_OF_LIBPQ = ("application_name", "channel_binding", "connect_timeout", "gssencmode")


def database_url(given: str) -> URL:
    """The URL with an asynchronous driver that is installed.

    :param given: such as ``postgresql://user:password@host/database``; ``postgres://`` and
        URLs of synchronous drivers are understood.
    :raises CannotRun: it is no URL of a database that can be asked.
    """
    try:
        url = make_url(_usual(given))
    except (ArgumentError, ValueError):
        # not repeated: what does not parse may still hold a password
        raise CannotRun(
            "the database URL is none; write it as postgresql://user:password@host/database"
        ) from None
    family = FAMILIES.get(url.get_backend_name())
    if family is None:
        raise CannotRun(
            f"{shown(url)}: statements are checked on {', '.join(FAMILIES)}, and on "
            "no other database"
        )
    driver = _driver(url, family.drivers)
    named = url.set(drivername=f"{url.get_backend_name()}+{driver}")
    return _for_asyncpg(named) if driver == "asyncpg" else named


def _usual(given: str) -> str:
    scheme, separator, rest = given.strip().partition("://")
    kind, plus, driver = scheme.partition("+")
    return f"{'postgresql' if kind == 'postgres' else kind}{plus}{driver}{separator}{rest}"


def _driver(url: URL, drivers: tuple[str, ...]) -> str:
    named = url.drivername.partition("+")[2]
    wanted = (named,) if named in drivers else drivers
    for driver in wanted:
        if find_spec(driver) is not None:
            return driver
    raise CannotRun(
        f'no driver for {shown(url)} is installed; next: pip install "sqla-typedpool[{wanted[0]}]"'
    )


def _for_asyncpg(url: URL) -> URL:
    """libpq's name for TLS, which asyncpg takes by another one, and not what it cannot take."""
    names = {"sslmode": "ssl"} | dict.fromkeys(_OF_LIBPQ, "")
    wanted = {key: names.get(key, key) for key in url.query}
    return url.set(query={name: url.query[key] for key, name in wanted.items() if name})


def shown(url: URL) -> str:
    """A URL as people may see it: without its password, nor one hidden in the query string."""
    secrets = [key for key in url.query if "pass" in key.lower() or "secret" in key.lower()]
    hidden = url.update_query_dict(dict.fromkeys(secrets, "***"))
    return hidden.render_as_string(hide_password=True)


@asynccontextmanager
async def connected(
    url: URL, seconds: float = CONNECT_SECONDS
) -> AsyncGenerator[AsyncConnection, None]:
    """One connection, closed at the end.

    :param seconds: how long to wait for the server.
    :raises CannotRun: it cannot be had.
    """
    engine = _engine(url, seconds)
    try:
        connection = await _within(seconds, engine.connect(), url)
        try:
            yield connection
        finally:
            await _close(connection)
    finally:
        await engine.dispose()


def _engine(url: URL, seconds: float) -> AsyncEngine:
    _require_file(url)
    try:
        return create_async_engine(url, poolclass=NullPool, connect_args=_options(url, seconds))
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError, ValueError) as error:
        raise CannotRun(f"{shown(url)} cannot be used: {said(error, url)}") from error


def _options(url: URL, seconds: float) -> dict[str, Any]:
    """How the server is told who is there, and where the driver can: how long to wait for it."""
    name: dict[str, Any] = {"application_name": "sqla-typedpool check"}
    if url.get_driver_name() == "asyncpg":
        return {"server_settings": name, "command_timeout": seconds}
    return name if url.get_driver_name() == "psycopg" else {}


def _require_file(url: URL) -> None:
    """SQLite would make an empty database of a wrong name."""
    name = url.database or ""
    in_memory = name in ("", ":memory:") or name.startswith("file:") or "mode" in url.query
    if url.get_backend_name() == "sqlite" and not in_memory and not Path(name).is_file():
        raise CannotRun(f"there is no SQLite database {name}; next: look at the URL's path")


async def _within(seconds: float, work: Awaitable[T], url: URL) -> T:
    """A driver's errors are of any class: of the URL's options Python itself complains."""
    try:
        return await asyncio.wait_for(work, seconds)
    except (asyncio.TimeoutError, TimeoutError):
        raise CannotRun(
            f"{shown(url)} did not answer within {seconds:g} s; next: look whether it runs, or "
            "wait longer with --timeout"
        ) from None
    except Exception as error:
        raise CannotRun(
            f"{shown(url)} cannot be used: {said(error, url)}; next: look at the URL, and whether "
            "the server runs"
        ) from error


async def _close(connection: AsyncConnection) -> None:
    """Politely, but not for ever: the server may be gone."""
    with contextlib.suppress(Exception):  # what was asked is known by now
        await asyncio.wait_for(connection.close(), _CLOSE_SECONDS)


def is_of_driver(error: BaseException) -> bool:
    """Whether database or driver say so, wrapped by SQLAlchemy or not."""
    if isinstance(error, (DBAPIError, OSError)):
        return True
    room = type(error).__module__.partition(".")[0]
    drivers = (driver for family in FAMILIES.values() for driver in family.drivers)
    return room in (*drivers, "pymysql", "sqlite3")


def said(error: BaseException, url: URL) -> str:
    """A driver's words in one line, without the password."""
    origin: Any = getattr(error, "orig", None) or error
    words = " ".join(str(origin).split()) or type(origin).__name__
    if words.startswith("<class"):  # "<class 'asyncpg...Error'>: message"
        words = words.partition(">: ")[2] or words
    return words.replace(url.password, "***") if url.password else words
