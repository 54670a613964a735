"""How many files of the package a checkout executes.

Every call of a Python function of the package on the loop's thread is recorded with its file, the
pool's own tasks included; a coroutine counts again each time it is resumed. The tests limit how
many files there are and how often a call is in another file than the call before: a reader who
follows a checkout opens that many files and moves that often between them.

`python -m tests.pool.test_checkout_path` prints the figures; with `--calls` every call as well.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import sqla_typedpool
from sqla_typedpool import TypedPool

pytest.importorskip("aiosqlite")

PACKAGE_ROOT = Path(sqla_typedpool.__file__).parent


@dataclass
class Calls:
    """The functions of the package that were called, in order: each with its file."""

    sequence: list[tuple[str, str]] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """Each file once, in the order of their first calls."""
        return list(dict.fromkeys(file for file, _ in self.sequence))

    @property
    def changes(self) -> int:
        """How many calls are in another file than the call before."""
        return sum(before != file for (before, _), (file, _) in itertools.pairwise(self.sequence))

    def __str__(self) -> str:
        return (
            f"{len(self.files)} files, {self.changes} changes of file, "
            f"{len(self.sequence)} calls: {', '.join(self.files)}"
        )


@contextmanager
def recorded_calls() -> Iterator[Calls]:
    """Record the calls into the package on this thread."""
    calls = Calls()
    prefix = f"{PACKAGE_ROOT}/"

    def on_event(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(prefix):
            code = frame.f_code
            calls.sequence.append((code.co_filename.removeprefix(prefix), code.co_name))

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def new_engine(folder: Path, name: str) -> AsyncEngine:
    return create_async_engine(f"sqlite+aiosqlite:///{folder / name}", poolclass=TypedPool)


async def cold_checkout(folder: Path) -> Calls:
    """The first checkout of an engine; another engine has imported and set up all before."""
    await first_checkout(new_engine(folder, "other.db"))
    return await first_checkout(new_engine(folder, "cold.db"))


async def first_checkout(engine: AsyncEngine) -> Calls:
    with recorded_calls() as calls:
        connection = await engine.connect()
    await connection.close()
    await engine.dispose()
    return calls


async def warm_checkout(folder: Path) -> Calls:
    """A checkout of an idle connection, and its return."""
    engine = new_engine(folder, "warm.db")
    async with engine.connect():
        pass
    with recorded_calls() as calls:
        async with engine.connect():
            pass
    await engine.dispose()
    return calls


def test_a_cold_checkout_goes_through_few_files(tmp_path: Path) -> None:
    calls = asyncio.run(cold_checkout(tmp_path))
    assert "pool/pool.py" in calls.files
    # with the driver and the dialect, for the probe that reads the state of the transaction, and
    # with what a new event loop needs to notice an overload, and with the adapters of connections
    assert len(calls.files) <= 21, str(calls)
    assert calls.changes <= 84, str(calls)


def test_a_warm_checkout_and_its_return_go_through_six_files_at_most(tmp_path: Path) -> None:
    calls = asyncio.run(warm_checkout(tmp_path))
    assert "pool/pool.py" in calls.files
    assert "pool/drivers/sqlite.py" in calls.files, "the state of the transaction is read there"
    # the adapter of SQLite finds that there is nothing to roll back
    assert len(calls.files) <= 6, str(calls)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        cold = asyncio.run(cold_checkout(Path(name)))
        warm = asyncio.run(warm_checkout(Path(name)))
    for title, calls in {"cold checkout": cold, "warm checkout and return": warm}.items():
        sys.stdout.write(f"{title}: {calls}\n")
        if "--calls" in sys.argv:
            sys.stdout.writelines(f"    {file}  {name}\n" for file, name in calls.sequence)


if __name__ == "__main__":
    main()
