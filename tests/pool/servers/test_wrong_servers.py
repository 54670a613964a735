"""A URL that leads to a server without TLS, or to a server of another kind, fails at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import DBAPIError

from sqla_typedpool.pool.connect_errors import classify
from sqla_typedpool.pool.connect_rules import ErrorKind
from tests.support.clocks import Stopwatch
from tests.support.drivers import POSTGRESQL
from tests.support.engines import ask, engine_on, run

if TYPE_CHECKING:
    from tests.support.databases import Database
    from tests.support.servers.mariadb import MariaDB

# the default of both drivers, without TLS, and with TLS
TLS = ["prefer", "disable", "require"]


def url_of(driver: str, port: int) -> str:
    return f"postgresql+{driver}://app:secret@127.0.0.1:{port}/shop"


def tls(driver: str, mode: str) -> dict[str, Any]:
    return {"connect_args": {"ssl" if driver == "asyncpg" else "sslmode": mode}}


async def check_fails_at_once(url: Any, **options: Any) -> None:
    async with engine_on(url, **options) as engine:
        watch = Stopwatch()
        with pytest.raises((DBAPIError, OSError)) as caught:
            await ask(engine)
        assert watch.awake < 1
    assert classify(getattr(caught.value, "orig", None) or caught.value) is ErrorKind.FATAL


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_server_that_refuses_tls_fails_a_checkout_at_once(database: Database) -> None:
    run(check_fails_at_once(database.url, **tls(database.driver, "require")))


@pytest.mark.parametrize("driver", ["asyncmy"])  # aiomysql connects without TLS
def test_a_mariadb_without_tls_fails_a_checkout_at_once(database: Database) -> None:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    run(check_fails_at_once(database.url, connect_args={"ssl": context}))


def unrecognised(driver: str, mode: str) -> bool:
    """asyncpg without TLS reports a closed connection only, as in a restart."""
    return (driver, mode) == ("asyncpg", "disable")


@pytest.mark.parametrize("mode", TLS)
@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_postgresql_url_at_a_mysql_port_fails_at_once(
    mariadb: MariaDB, driver: str, mode: str
) -> None:
    pytest.importorskip(driver)
    if unrecognised(driver, mode):
        pytest.skip("asyncpg reports a closed connection")
    run(check_fails_at_once(url_of(driver, mariadb.port), **tls(driver, mode)))


@pytest.mark.parametrize("mode", TLS)
@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_postgresql_url_at_an_http_server_fails_at_once(driver: str, mode: str) -> None:
    pytest.importorskip(driver)
    if unrecognised(driver, mode):
        pytest.skip("asyncpg reports a closed connection")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await check_fails_at_once(url_of(driver, port), **tls(driver, mode))
        server.close()
        await asyncio.sleep(0.01)

    run(main())
