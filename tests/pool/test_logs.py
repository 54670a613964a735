"""The log records of the pool: stable events, fields, and handlers that raise."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import TypedPool
from sqla_typedpool.pool.log import LOGGER, LogEvent, PoolLog
from sqla_typedpool.pool.names import PoolName
from tests.support.log_table import documented, fields_of

UNITS = (
    "_seconds",
    "_connections",
    "_attempts",
    "_checkouts",
    "_returns",
    "_callers",
    "event_loops",
    "overloads",
    "deadlocks",
    "statements",
)
TEXTS = {"stage", "holder", "site", "held_site", "error", "wanted_name"}


@pytest.fixture
def log(log_records_are_documented: None) -> Iterator[PoolLog]:
    """A log whose records need not be documented."""
    handlers = LOGGER.handlers[:]
    LOGGER.handlers.clear()
    yield PoolLog(PoolName("100%s"))
    LOGGER.handlers[:] = handlers


def test_the_table_lists_exactly_the_events_of_the_code() -> None:
    assert set(documented()) == {event.value for event in LogEvent}


def test_each_documented_number_has_a_unit_in_its_name() -> None:
    fields = {field for row in documented().values() for field in row.fields}
    assert [each for each in fields - TEXTS if not each.endswith(UNITS)] == []


def test_the_message_begins_with_the_name_and_the_record_has_the_fields(
    log: PoolLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.warning(LogEvent.LEAK, "leak: %d of %s", 7, "x", held_seconds=1.5)
    (record,) = caplog.records
    assert record.getMessage() == "pool 100%s: leak: 7 of x"
    assert fields_of(record) == {"event", "pool", "held_seconds"}
    assert (record.event, record.pool, record.held_seconds) == ("leak", "100%s", 1.5)  # type: ignore[attr-defined]
    assert (record.name, record.levelno) == ("sqla_typedpool.pool", logging.WARNING)


def test_a_record_names_the_line_that_wrote_it(
    log: PoolLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.warning(LogEvent.LEAK, "x")
    log.write(logging.ERROR, LogEvent.LEAK, "x")
    assert {each.funcName for each in caplog.records} == {
        "test_a_record_names_the_line_that_wrote_it"
    }
    assert {each.filename for each in caplog.records} == {"test_logs.py"}


def test_a_text_without_arguments_may_contain_a_percent_sign_in_the_name(
    log: PoolLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.info(LogEvent.LEAK, "x")
    log.warning(LogEvent.LEAK, "x")
    assert [each.getMessage() for each in caplog.records] == ["pool 100%s: x"]


@pytest.mark.parametrize("name", ["name", "msg", "args", "message", "asctime", "thread"])
def test_a_field_does_not_overwrite_an_attribute_of_every_record(
    log: PoolLog, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    log.warning(LogEvent.LEAK, "x", **{name: "mine"})
    (record,) = caplog.records
    assert getattr(record, f"{name}_") == "mine"
    assert record.getMessage() == "pool 100%s: x"


def test_a_record_factory_of_the_application_that_sets_our_fields_does_no_harm(
    log: PoolLog, caplog: pytest.LogCaptureFixture
) -> None:
    standard = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = standard(*args, **kwargs)
        record.site = record.pool = "eu-west"
        return record

    logging.setLogRecordFactory(factory)
    try:
        log.warning(LogEvent.LEAK, "x", site="app.py:7")
    finally:
        logging.setLogRecordFactory(standard)
    (record,) = caplog.records
    assert (record.site, record.pool) == ("app.py:7", "100%s")  # type: ignore[attr-defined]


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise LookupError("a broken handler")


def test_what_a_handler_raises_goes_to_standard_error_only(
    log: PoolLog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    LOGGER.addHandler(Broken())
    log.warning(LogEvent.LEAK, "x")
    assert "LookupError: a broken handler" in capsys.readouterr().err
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.warning(LogEvent.LEAK, "x")
    monkeypatch.setattr("sys.stderr", None)
    log.warning(LogEvent.LEAK, "x")
    assert capsys.readouterr().err == ""


def test_a_secret_in_a_traceback_is_masked_for_every_formatter(
    log: PoolLog, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(text: str) -> Exception:
        try:
            raise ValueError(text)
        except ValueError as error:
            return error

    log.warning(LogEvent.CLOSE_FAILED, "x", exc_info=fail("at postgresql://app:sec@ret@h"))
    log.warning(LogEvent.CLOSE_FAILED, "x", exc_info=fail("harmless"))
    secret, harmless = caplog.records
    assert secret.exc_info is None
    shown = logging.Formatter().format(secret)
    assert re.search(r"Traceback.*\n.*\n.*\nValueError: at postgresql://app:\*\*\*@h$", shown)
    assert harmless.exc_info is not None
    assert "".join(traceback.format_exception(*harmless.exc_info)).endswith(
        "ValueError: harmless\n"
    )


def test_a_known_password_in_a_traceback_is_masked_without_a_sign_that_it_is_one(
    log_records_are_documented: None, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("asyncpg")
    url = "postgresql+asyncpg://app:correct-horse@localhost/db"
    pool = TypedPool.of(create_async_engine(url, poolclass=TypedPool))
    error = ValueError("cannot use correct-horse here")
    pool.shared.log.warning(LogEvent.CLOSE_FAILED, "x", exc_info=error, error="x")
    (record,) = caplog.records
    shown = logging.Formatter().format(record)
    assert shown.endswith("ValueError: cannot use *** here")
