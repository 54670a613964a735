"""Fixtures of the tests of typed results."""

from __future__ import annotations

import logging

import pytest

from tests.support.fetch_lab import Paths


@pytest.fixture
def paths(caplog: pytest.LogCaptureFixture) -> Paths:
    """Counts the statements of the test that took the slow path."""
    caplog.set_level(logging.DEBUG, "sqla_typedpool.fetch")
    return Paths(caplog)
