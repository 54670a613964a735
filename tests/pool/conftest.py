"""Each log record that a test of the pool causes is compared with the table of log events."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqla_typedpool.pool.log import LOGGER
from tests.support.log_table import ComparesWithTable


@pytest.fixture(autouse=True)
def log_records_are_documented() -> Iterator[None]:
    handler = ComparesWithTable()
    LOGGER.addHandler(handler)
    yield
    LOGGER.removeHandler(handler)
    assert handler.faults == []
