"""A temporary directory of one test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.temporary import temporary_directory


@pytest.fixture
def temporary(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The directory in which this test and its programs create their temporary folders."""
    tmp_path_factory.getbasetemp()  # pytest's own folder is created outside
    with temporary_directory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        monkeypatch.setenv("TMPDIR", str(folder))
        yield folder
