"""psycopg's autocommit, set for one call; without a database."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sqla_typedpool._sqlalchemy.psycopg_adapter import begin_autocommit, end_autocommit

IDLE, ACTIVE = 0, 1


class FakeConnection:
    """The part of psycopg's connection that is used. `attribute` is what `autocommit` reads."""

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute
        self.calls: list[bool] = []
        self.is_locked = False
        self.lock = SimpleNamespace(locked=lambda: self.is_locked)
        self.pgconn = SimpleNamespace(transaction_status=IDLE, finish=self._finish)
        self.is_finished = False
        setattr(self, attribute, False)

    @property
    def autocommit(self) -> bool:
        return bool(getattr(self, self._attribute))

    async def set_autocommit(self, value: bool) -> None:
        if self.pgconn.transaction_status != IDLE:
            raise RuntimeError("a statement is running")
        self.calls.append(value)
        setattr(self, self._attribute, value)

    def _finish(self) -> None:
        self.is_finished = True


@pytest.mark.parametrize(
    ("attribute", "calls"),
    [("_autocommit", []), ("_renamed", [True, False])],
    ids=["the attribute that psycopg has", "another attribute"],
)
def test_autocommit_is_on_until_its_end(attribute: str, calls: list[bool]) -> None:
    connection: Any = FakeConnection(attribute)
    begin_autocommit(connection)
    assert connection.autocommit
    end_autocommit(connection)
    assert not connection.autocommit
    assert not connection.is_finished
    assert connection.calls == calls


@pytest.mark.parametrize("attribute", ["_autocommit", "_renamed"])
def test_a_connection_whose_statement_has_not_ended_is_closed(attribute: str) -> None:
    connection: Any = FakeConnection(attribute)
    begin_autocommit(connection)
    connection.pgconn.transaction_status = ACTIVE
    end_autocommit(connection)
    assert connection.is_finished
