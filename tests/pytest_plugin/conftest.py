"""Projects whose tests use the plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqla_typedpool.embedded import Postgres
from tests.pytest_plugin.project import Project


@pytest.fixture
def project(tmp_path: Path, postgres: Postgres) -> Project:
    """A project whose tests use the session's server."""
    return Project(tmp_path, postgres.url("psycopg"))


@pytest.fixture
def serverless(tmp_path: Path) -> Project:
    """A project without a configured server."""
    return Project(tmp_path, None)
