"""What all describers have in common: the time limit, SQL that cannot be sent, missing packages."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from importlib import import_module
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.schema import CreateTable

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement
from sqla_typedpool.describe import describe, describer
from sqla_typedpool.describe.base import DatabaseReport, Describer
from sqla_typedpool.describe.deadline import within
from sqla_typedpool.describe.families import FAMILIES
from sqla_typedpool.errors import CannotRun, DescribeTimeout, Refused
from tests.support import virtual_clock

Answer = Callable[[], Awaitable[None]]


class SQLiteWithout(Describer):
    """A describer without a database."""

    family = "sqlite"

    def __init__(self, answer: Answer) -> None:
        super().__init__("SQLite 3", timeout=10)
        self._answer = answer

    async def _describe(
        self, compiled: CompiledStatement, never_null: frozenset[str]
    ) -> DatabaseReport:
        await self._answer()
        return DatabaseReport([], [])


async def at_once() -> None:
    """Answer without waiting."""


def described(answer: Answer, sql: str = "SELECT 1") -> float:
    """Describe a statement, and return how many seconds it took."""

    async def main() -> float:
        began = virtual_clock.now()
        with pytest.raises(DescribeTimeout) as raised:
            await SQLiteWithout(answer).describe(sql)
        assert str(raised.value) == (
            f"the database did not describe {sql!r} within 10 s; next: check whether a table "
            "is locked, or set a longer timeout"
        )
        return virtual_clock.now() - began

    return virtual_clock.run(main())


def refusal_after(seconds: float, code: str) -> Answer:
    async def answer() -> None:
        await asyncio.sleep(seconds)
        raise Refused("canceling statement", code=code)

    return answer


async def silence() -> None:
    await asyncio.Event().wait()


async def two_cancellations() -> None:
    try:
        await silence()
    except asyncio.CancelledError:
        await silence()


async def error_when_cancelled() -> None:
    try:
        await silence()
    finally:
        raise CannotRun("the connection is lost")


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (silence, 10.25),
        (error_when_cancelled, 10.25),
        (two_cancellations, 11.25),
        (refusal_after(10, "55P03"), 10),
        (refusal_after(10, "57014"), 10),
    ],
)
def test_a_statement_that_exceeds_the_timeout_is_cancelled(answer: Answer, seconds: float) -> None:
    assert described(answer) == pytest.approx(seconds)


@pytest.mark.parametrize(("seconds", "code"), [(5, "55P03"), (5, "57014"), (10.1, "42601")])
def test_an_error_that_the_timeout_does_not_change_is_raised_unchanged(
    seconds: float, code: str
) -> None:
    with pytest.raises(Refused, match="canceling statement"):
        described(refusal_after(seconds, code))


def test_the_cancellation_of_the_caller_is_passed_on() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(SQLiteWithout(silence).describe("SELECT 1"))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_clock.run(main())


async def cancel_at(*moments: float, work: Coroutine[Any, Any, None], grace: float = 0.0) -> None:
    """Cancel work with a limit of 10 s at these moments, and check that it has ended."""
    task = asyncio.ensure_future(within(10, "answer", work, grace=grace))
    for moment in moments:
        asyncio.get_running_loop().call_later(moment, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("moments", "seconds"),
    [
        ((1, 1.1), 2),  # the second one does not end the wait for the work
        ((10.5,), 10.5),  # the work is cancelled already
    ],
)
def test_a_caller_that_is_cancelled_waits_for_the_end_of_the_work(
    moments: tuple[float, ...], seconds: float
) -> None:
    async def main() -> float:
        began = virtual_clock.now()
        await cancel_at(*moments, work=two_cancellations())
        return virtual_clock.now() - began

    assert virtual_clock.run(main()) == pytest.approx(seconds)


@pytest.mark.parametrize(("grace", "is_complete"), [(3.0, True), (1.0, False)])
def test_work_may_go_on_for_its_grace_when_the_caller_is_cancelled(
    grace: float, is_complete: bool
) -> None:
    ended = []

    async def work() -> None:
        await asyncio.sleep(3)
        ended.append(True)

    virtual_clock.run(cancel_at(1, 1.5, work=work(), grace=grace))
    assert bool(ended) is is_complete


@pytest.mark.parametrize("character", ["\0", "\ud800"])
def test_a_character_that_cannot_be_sent_is_refused_with_its_position(character: str) -> None:
    with pytest.raises(Refused, match="cannot be sent to the database") as raised:
        asyncio.run(SQLiteWithout(at_once).describe(f"SELECT '{character}'"))
    assert raised.value.position == 8


def test_a_statement_that_cannot_be_compiled_is_refused() -> None:
    statement = CreateTable(Table("t", MetaData(), Column("id", Integer)))
    with pytest.raises(Refused, match="SQLAlchemy cannot compile the statement"):
        asyncio.run(SQLiteWithout(at_once).describe(statement))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_family_has_a_module(family: object) -> None:
    module = import_module(getattr(family, "module"))  # noqa: B009
    assert callable(module.open_describer)


@pytest.mark.parametrize("package", ["apsw", "sqlglot"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in list(sys.modules):
        if name.startswith("sqla_typedpool.describe.sqlite."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)

    async def main() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        with pytest.raises(CannotRun, match=rf'{package}.*pip install "sqla-typedpool\[check\]"'):
            async with describer(engine):
                raise AssertionError("it was opened")
        await engine.dispose()

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf")])
def test_a_timeout_is_a_positive_number(timeout: float) -> None:
    async def main() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        try:
            await describe(engine, "SELECT 1", timeout=timeout)
        finally:
            await engine.dispose()

    with pytest.raises(ValueError, match="timeout must be a positive number of seconds, not"):
        asyncio.run(main())
