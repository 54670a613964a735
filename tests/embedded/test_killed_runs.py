"""Programs with a real server that are ended by a signal: at its start, in use, at its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from sqla_typedpool.embedded import Postgres, binaries, process
from sqla_typedpool.embedded.folders import remove_abandoned
from tests.embedded.temporary import folders_in, programs_in
from tests.support.commands import LEFT_OUT, PYTEST_ENTRY, ROOT

LIMIT = 60.0  # seconds, for each wait

PROGRAM = """
import sys
from sqla_typedpool.ephemeral.server import running

with running():
    print("in use", flush=True)
    sys.stdin.readline()
    print("stopping", flush=True)
"""

TESTS = """
import time
import pytest

@pytest.mark.parametrize("number", range(2))
def test_that_takes_long(typedpool_postgres, number):
    print("in use", flush=True)
    time.sleep(120)
"""

# One of each moment and each signal; the other ones are slow in all.
QUICK = {("start", "SIGTERM"), ("in use", "SIGINT"), ("stopping", "SIGKILL")}
ENDS = [
    pytest.param(moment, number, marks=() if (moment, number) in QUICK else pytest.mark.slow)
    for moment, number in product(("start", "in use", "stopping"), ("SIGTERM", "SIGINT", "SIGKILL"))
]


@pytest.fixture(autouse=True)
def bindir(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the server's folder, so that no time is spent on searching it."""
    monkeypatch.setenv(binaries.BINDIR_VARIABLE, str(binaries.find_bindir()))


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python inside the block; after an error, kill it."""
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    program = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment
        | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{PYTEST_ENTRY}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
    )
    with program:
        try:
            yield program
        finally:
            program.kill()


def wait_for(program: subprocess.Popen[str], moment: str, temporary: Path) -> None:
    """Wait until the server is being started, is in use, or is being stopped."""
    if moment == "start":
        assert process.wait_until(lambda: bool(programs_in(temporary)), LIMIT)
        return
    assert program.stdout is not None
    assert program.stdin is not None
    until_line(program, "in use")
    if moment == "stopping":
        program.stdin.write("\n")
        program.stdin.flush()
        until_line(program, "stopping")


def until_line(program: subprocess.Popen[str], expected: str) -> None:
    assert program.stdout is not None
    assert any(expected in line for line in program.stdout), f"ended before {expected!r}"


def is_clean(temporary: Path) -> Callable[[], bool]:
    return lambda: not programs_in(temporary) and not folders_in(temporary)


@pytest.mark.postgres
@pytest.mark.parametrize(("moment", "name"), ENDS)
def test_an_ended_program_leaves_nothing_or_the_next_start_removes_it(
    temporary: Path, moment: str, name: str
) -> None:
    with running("-c", PROGRAM) as program:
        wait_for(program, moment, temporary)
        program.send_signal(signal.Signals[name])
        program.communicate(timeout=LIMIT)
    if name == "SIGKILL":
        remove_abandoned([temporary])
    assert is_clean(temporary)()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("moment", "arguments"),
    [
        ("in use", []),
        *(pytest.param("start", each, marks=pytest.mark.slow) for each in ([], ["-n2"])),
    ],
)
def test_a_test_run_that_is_ended_by_sigterm_leaves_nothing(
    temporary: Path, tmp_path: Path, moment: str, arguments: list[str]
) -> None:
    (tmp_path / "test_long.py").write_text(TESTS)
    options = ["-m", "pytest", "-qs", f"--rootdir={tmp_path}", "-p", "no:cacheprovider"]
    options += ["-p", "sqla_typedpool_pytest", "-p", "xdist.plugin"]
    with running(*options, *arguments, str(tmp_path)) as run:
        wait_for(run, moment, temporary)
        run.terminate()
        run.communicate(timeout=LIMIT)
    # The workers of pytest-xdist end a little later, when they find that the connection is closed.
    assert process.wait_until(is_clean(temporary), LIMIT)
