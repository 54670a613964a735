"""The jobs, in a new database for each test."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jobs
import pytest

from sqla_typedpool import TypedPool


def test_jobs_share_an_engine_and_leave_no_session_open(
    typedpool_database: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = typedpool_database.engine(pool_size=2, max_overflow=0)
    monkeypatch.setattr(jobs.Engines, "made", engine)
    jobs.main(10)
    printed = capsys.readouterr().out
    assert printed.startswith("20 invoices sent by 20 jobs, in 20 sessions of the server\n")
    assert printed.endswith("sessions that are still open: 0\n")
    stats = TypedPool.of(engine).stats()
    assert (stats.size, stats.leaks) == (0, 0)


def test_the_stock_pool_fails_in_the_second_job(typedpool_database: Any) -> None:
    """The reason for this example."""
    ended = subprocess.run(
        [sys.executable, "jobs.py", "--stock"],
        cwd=Path(__file__).parent,
        env={**os.environ, "DATABASE_URL": typedpool_database.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "attached to a different loop" in ended.stderr
