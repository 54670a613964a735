"""No message of the package shows a password that a text from outside contains.

Each test has such a text: an error of a driver or of the application, or a URL in which the
password is not encoded (SQLAlchemy takes its second half for the host).
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import PoolTimeout, TypedPool, cli
from sqla_typedpool.check.config import settings_of
from sqla_typedpool.check.database import driver_message
from sqla_typedpool.check.database_url import database_url, shown
from sqla_typedpool.check.describing import DatabaseTarget
from sqla_typedpool.describe.mysql import describer as mysql_describer
from sqla_typedpool.describe.postgres import session
from sqla_typedpool.embedded.process import log_tail
from sqla_typedpool.ephemeral import connecting, migrations, models, script
from sqla_typedpool.errors import CannotRun, PoolOptionError
from sqla_typedpool.pytest_plugin import leaks
from sqla_typedpool.pytest_plugin.database import Database
from sqla_typedpool.pytest_plugin.servers import create_database
from tests.support.check_commands import command
from tests.support.fake_driver import (
    Connect,
    Disconnect,
    Server,
    borrow,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import run

NOT_ENCODED = "postgresql+asyncpg://app:sec@ret@127.0.0.1:9/app"
QUOTED = "cannot connect with postgresql://app:sec@ret@db, password=secret"


def assert_masked(text: str) -> None:
    """Check that a message shows no part of the password, but that there was one."""
    assert "***" in text, text
    assert not re.search(r"sec@|ret@|\bret\b|secret", text), text


# ----------------------------------------------------------------------- the pool


def test_a_connect_error_that_quotes_a_url_is_masked_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Refused(ConnectionRefusedError):
        pass

    async def main() -> None:
        server = Server(usual=Connect(error=lambda: Refused(QUOTED)))
        pool = new_pool(server, timeout=30, pool_connect_retry=20, pool_slow_checkout=1)
        waiter = asyncio.ensure_future(use(pool))
        await asyncio.sleep(3)
        server.usual = Connect()
        await waiter

    with caplog.at_level(logging.DEBUG, "sqla_typedpool"):
        run(main())
    messages = [record.getMessage() for record in caplog.records]
    assert any("Refused" in message for message in messages)
    for message in messages:
        assert "secret" not in message
        assert "ret@" not in message


def test_a_connect_error_that_names_the_half_of_a_password_as_the_host_is_masked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`app:sec@ret@db` is passed to the driver as the password `sec` and the host `ret@db`."""

    def fail() -> Exception:
        return ConnectionRefusedError("cannot connect to 'ret@db' with 'sec'")

    async def main() -> None:
        server = Server(usual=Connect(error=fail))
        arguments = {"user": "app", "password": "sec", "host": "ret@db", "database": "app"}
        engine = new_engine(server, connect_args=arguments, pool_timeout=3, pool_connect_retry=9)
        pool = TypedPool.of(engine)
        assert pool.stats().name == "db/app"
        with pytest.raises(PoolTimeout):
            await engine.connect()
        assert pool.stats().last_connect_error == (
            "ConnectionRefusedError(\"cannot connect to '***@db' with '***'\")"
        )

    run(main())
    assert caplog.records
    for record in caplog.records:
        assert_masked(record.getMessage())
        assert_masked(record.error)  # type: ignore[attr-defined]


def test_an_error_of_a_close_listener_is_masked_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_idle_timeout=5)
        await open_idle(pool, 1)

        @event.listens_for(pool, "close")
        def fail(connection: Any, record: Any) -> None:
            raise ValueError(QUOTED)

        await asyncio.sleep(20)

    run(main())
    (record,) = caplog.records
    assert_masked(record.getMessage())
    assert_masked(record.error)  # type: ignore[attr-defined]
    assert_masked(logging.Formatter().format(record))


def test_the_host_of_a_password_that_is_not_encoded_is_masked_in_errors_and_the_name() -> None:
    pool = TypedPool.of(create_async_engine(NOT_ENCODED, poolclass=TypedPool))
    assert pool.stats().name.startswith("127.0.0.1:9/app")
    error = OSError("[Errno -2] could not resolve 'ret@127.0.0.1'")
    assert pool.shared.backend.masked(error).endswith("could not resolve '***@127.0.0.1'\")")


def test_a_connection_that_is_lost_while_it_is_opened_is_reported_without_a_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        backend = new_pool(Server()).shared.backend

        def fail(adapted: Any) -> object:
            raise Disconnect(QUOTED)

        monkeypatch.setattr(backend.driver, "server_mode", fail)
        with pytest.raises(ConnectionError) as raised:
            backend.server_mode(object())
        assert_masked(str(raised.value))

    run(main())


@pytest.mark.parametrize(
    "create",
    [
        lambda: new_pool(Server(), timeout=QUOTED),
        lambda: new_pool(Server(), pool_name=f"{QUOTED}\n"),
        lambda: TypedPool.configured(pool_size=QUOTED),
        lambda: create_async_engine(
            "postgresql+asyncpg://h/d?plugin=typedpool&pool_size=password%3Dsecret"
        ),
    ],
)
def test_a_wrong_option_is_shown_without_a_secret(create: Callable[[], Any]) -> None:
    with pytest.raises(PoolOptionError) as raised:
        create()
    assert_masked(str(raised.value))


def test_a_name_that_is_a_url_is_shown_without_its_password() -> None:
    pool = new_pool(Server(), pool_name=NOT_ENCODED)
    assert pool.stats().name == "postgresql+asyncpg://app:***@127.0.0.1:9/app"


def test_the_error_of_a_borrower_is_the_drivers_own() -> None:
    """It is the application's: what SQLAlchemy raises is not changed."""

    class WrongOption(Exception):
        pass

    async def main() -> None:
        pool = new_pool(Server(usual=Connect(error=lambda: WrongOption(QUOTED))))
        with pytest.raises(WrongOption, match="sec@ret"):
            await borrow(pool)

    run(main())


# -------------------------------------------------------------- check and describe


def test_the_commands_show_a_url_with_a_password_that_is_not_encoded_without_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text("")
    described = command(tmp_path, "describe", "SELECT 1", "--database-url", NOT_ENCODED)
    assert described.returncode == 2
    assert "its user or password contains an @" in described.stderr
    assert not re.search(r"sec@|ret@", described.stderr)


def test_the_name_of_a_database_in_reports_has_no_part_of_the_password() -> None:
    target = DatabaseTarget(make_url(NOT_ENCODED))
    assert json.dumps(target.named("PostgreSQL")) == '"PostgreSQL at 127.0.0.1:9/app"'


def test_a_url_is_shown_without_a_password_in_any_place() -> None:
    for url in (NOT_ENCODED, "postgresql://h/d?password=secret", "postgresql://a:sec@r/ret@h/d"):
        assert_masked(shown(make_url(url)))


def test_what_is_not_a_url_is_not_shown() -> None:
    with pytest.raises(CannotRun) as raised:
        database_url("postgresql://app:sec@ret:x@h/d")
    assert not re.search("sec@|ret", str(raised.value))


def test_a_drivers_message_is_shown_without_the_half_of_the_password() -> None:
    url = make_url(NOT_ENCODED)
    assert driver_message(OSError("no host 'ret@127.0.0.1'"), url) == "no host '***@127.0.0.1'"
    assert_masked(driver_message(OSError(QUOTED), url))


@pytest.mark.parametrize(
    "arguments", [["describe", "SELECT 1", NOT_ENCODED], ["check", "--timeout", NOT_ENCODED]]
)
def test_an_argument_that_is_refused_is_shown_without_its_password(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert_masked(capsys.readouterr().err)


def test_a_module_that_raises_is_reported_without_the_password_in_its_message(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text(f"raise ValueError({QUOTED!r})")
    answer = command(tmp_path, "check", "app", "--offline")
    assert "cannot be imported" in answer.stderr + answer.stdout
    assert_masked(answer.stderr + answer.stdout)


def test_a_setting_of_the_wrong_type_is_shown_without_a_secret() -> None:
    with pytest.raises(CannotRun) as raised:
        settings_of({"modules": NOT_ENCODED}, "pyproject.toml")
    assert_masked(str(raised.value))


def test_what_a_server_reports_about_a_statement_is_masked() -> None:
    class ProgrammingError(Exception):
        __module__ = "pymysql.err"

    assert_masked(str(session._error(QUOTED, "42601")))
    assert_masked(str(session._error(QUOTED)))
    refused = mysql_describer._refused(ProgrammingError(1064, QUOTED), "SELECT 1")
    assert refused is not None
    assert_masked(refused.message)


# ------------------------------------------------- ephemeral, embedded, the plugin


def test_an_error_of_a_script_or_a_migration_is_masked(tmp_path: Path) -> None:
    line = "psql:<stdin>:3: ERROR:  syntax error: CREATE ROLE a PASSWORD 'secret'"
    assert_masked(script._psql_failure(tmp_path, line))
    assert_masked(script._psql_failure(tmp_path, QUOTED))
    assert_masked(migrations._failure(tmp_path, f"first\n{QUOTED}\nlast"))
    try:
        raise ValueError(QUOTED)
    except ValueError as error:
        assert_masked(models._reason(error))
        assert_masked(connecting.driver_message(error))


def test_the_end_of_a_servers_log_is_masked(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"LOG: ready\n{QUOTED}\n")
    assert_masked(log_tail(tmp_path / "log"))


def test_the_database_of_a_test_is_shown_without_its_password() -> None:
    assert repr(Database(NOT_ENCODED)) == "<Database postgresql+asyncpg://app:***@127.0.0.1:9/app>"


def test_a_server_that_the_tests_cannot_use_is_shown_without_its_password() -> None:
    with pytest.raises(pytest.fail.Exception) as raised:
        create_database(NOT_ENCODED, "x")
    assert "no database can be created on postgresql+asyncpg://app:***@" in str(raised.value)
    assert_masked(str(raised.value))


def test_the_last_statement_of_a_leaked_session_is_masked() -> None:
    row: Any = {
        "query": "ALTER ROLE app PASSWORD 'secret'",
        "application_name": "",
        "pid": 1,
        "state": "idle",
    }
    assert_masked(leaks._describe_session(row, "tests/test_shop.py:7"))
