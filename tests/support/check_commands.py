"""Run the commands of the package in this process, as if it were a new one."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sqla_typedpool import cli
from sqla_typedpool.queries import declare as registry


@dataclass
class Answer:
    """The output and the exit code of a command."""

    returncode: int
    stdout: str
    stderr: str


def command(folder: Path, *arguments: str, **variables: str) -> Answer:
    """Run a command in a folder, and check that it shows no traceback."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("COLUMNS", "100")  # not those of the terminal of the tests
        patch.delenv("DATABASE_URL", raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(arguments)
    sys.modules.pop("app", None)
    registry._declared.clear()
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return Answer(code, out.getvalue(), err.getvalue())
