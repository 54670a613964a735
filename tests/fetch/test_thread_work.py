"""What runs in the thread of a SQLite connection, with a connection that is scripted."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sqla_typedpool.fetch.fast.refusals import NeedsSlowPath
from sqla_typedpool.fetch.fast.sqlite_work import GivenUp, ThreadWork
from tests.support.engines import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = (("id", None),)


def nothing() -> None:
    """Do nothing while a statement is executed."""


class RawConnection:
    """Notes what is called. It is its own cursor."""

    rowcount = 1
    description: Any = None
    autocommit = -1
    in_transaction = True

    def __init__(
        self, while_executing: Callable[[], None] = nothing, commit_error: Exception | None = None
    ) -> None:
        self.calls: list[str] = []
        self.while_executing = while_executing
        self._commit_error = commit_error

    def cursor(self) -> RawConnection:
        return self

    def execute(self, sql: str, arguments: Any) -> None:
        self.calls.append("execute")
        self.while_executing()

    def fetchall(self) -> list[Any]:
        return [(1,)]

    def close(self) -> None:
        """Close the cursor."""

    def commit(self) -> None:
        self.calls.append("commit")
        if self._commit_error is not None:
            raise self._commit_error

    def rollback(self) -> None:
        self.calls.append("rollback")

    def interrupt(self) -> None:
        self.calls.append("interrupt")


def call_of(*, wants_rows: bool = False, is_alone: bool = True, is_known: bool = False) -> Any:
    """Return the part of a `Call` that the work uses."""
    return SimpleNamespace(
        statement=SimpleNamespace(sql="INSERT"),
        arguments=(),
        wants_rows=wants_rows,
        is_alone=is_alone,
        is_committing=False,
        mappers={NAMES: object()} if is_known else {},
    )


def test_a_statement_alone_is_committed() -> None:
    raw, call = RawConnection(), call_of()
    assert ThreadWork(raw, call).run() == 1
    assert raw.calls == ["execute", "commit"]
    assert call.is_committing


def test_a_statement_in_a_transaction_is_neither_committed_nor_rolled_back() -> None:
    raw = RawConnection()
    assert ThreadWork(raw, call_of(is_alone=False)).run() == 1
    raw.while_executing = lambda: 1 / 0  # type: ignore[assignment, return-value]
    with pytest.raises(ZeroDivisionError):
        ThreadWork(raw, call_of(is_alone=False)).run()
    assert raw.calls == ["execute", "execute"]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_statement_whose_columns_are_new_is_not_committed(is_known: bool) -> None:
    raw, call = RawConnection(), call_of(wants_rows=True, is_known=is_known)
    raw.description = NAMES
    work = ThreadWork(raw, call)
    assert work.run() == [(1,)]
    assert work.new_columns == (None if is_known else NAMES)
    assert raw.calls == (["execute", "commit"] if is_known else ["execute"])


def test_a_call_that_is_given_up_while_its_statement_runs_is_rolled_back() -> None:
    """The interrupt comes too late here: the statement ends as if there had been none."""
    raw, call = RawConnection(), call_of()
    work = ThreadWork(raw, call)
    raw.while_executing = work.give_up
    with pytest.raises(GivenUp):
        work.run()
    assert raw.calls == ["execute", "interrupt", "rollback"]
    assert not call.is_committing


def test_a_call_that_is_given_up_leaves_no_transaction_for_a_decision() -> None:
    raw = RawConnection()
    raw.description = NAMES
    work = ThreadWork(raw, call_of(wants_rows=True))
    raw.while_executing = work.give_up
    with pytest.raises(GivenUp):
        work.run()
    assert raw.calls == ["execute", "interrupt", "rollback"]


def test_a_call_that_is_given_up_before_it_runs_is_not_executed() -> None:
    raw = RawConnection()
    work = ThreadWork(raw, call_of())
    work.give_up()
    with pytest.raises(GivenUp):
        work.run()
    assert raw.calls == ["rollback"]


def test_a_call_that_is_given_up_before_its_columns_are_accepted_is_rolled_back() -> None:
    raw = RawConnection()
    raw.description = NAMES
    work = ThreadWork(raw, call_of(wants_rows=True))
    work.run()
    work.give_up()
    with pytest.raises(GivenUp):
        work.commit()
    assert raw.calls == ["execute", "rollback"]


def test_a_failed_commit_is_rolled_back() -> None:
    raw, call = RawConnection(commit_error=ValueError()), call_of()
    with pytest.raises(ValueError):
        ThreadWork(raw, call).run()
    assert raw.calls == ["execute", "commit", "rollback"]
    assert call.is_committing


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3's `autocommit` came with 3.12")
def test_with_autocommit_a_statement_alone_is_not_executed() -> None:
    raw = RawConnection()
    raw.autocommit = 1
    with pytest.raises(NeedsSlowPath):
        ThreadWork(raw, call_of()).run()
    assert raw.calls == []


def test_an_interrupt_does_not_meet_the_next_statement() -> None:
    """The thread does not go on to the next call before the interrupt has been made."""
    executing, interrupting, go_on = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def execute() -> None:
        executing.set()
        assert interrupting.wait(PATIENCE)

    def interrupt() -> None:
        interrupting.set()
        assert not go_on.wait(0.05), "the statement has ended before the interrupt"
        order.append("interrupted")

    raw = RawConnection(execute)
    raw.interrupt = interrupt  # type: ignore[method-assign]
    work = ThreadWork(raw, call_of(is_alone=False))

    def run() -> None:
        with pytest.raises(GivenUp):
            work.run()
        order.append("ended")
        go_on.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert executing.wait(PATIENCE)
    work.give_up()
    thread.join(PATIENCE)
    assert order == ["interrupted", "ended"]
