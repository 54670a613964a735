"""`python -m benchmarks.checking [copies]`: how long many declared queries take to check.

The queries of `examples/bookshop`, copied into several packages (10 copies: 220 queries), on a new
PostgreSQL. Each command runs in its own process, as a user runs it. `imports` imports and does
nothing else; its time is part of every other figure. Five interleaved runs; median and minimum.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.report import aligned, headline, machine
from examples.bookshop.bookshop.schema import metadata
from sqla_typedpool.embedded import Postgres

ROOT = Path(__file__).parent.parent
COPIES = 10
RUNS = 5


def copy_queries(folder: Path, copies: int) -> list[str]:
    """Make the packages and return their names."""
    names = [f"bookshop{number}" for number in range(copies)]
    for name in names:
        shutil.copytree(ROOT / "examples" / "bookshop" / "bookshop", folder / name)
    return names


async def make_tables(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()


def run(folder: Path, *arguments: str, checkout: Path = ROOT) -> tuple[float, str]:
    """Run Python in the folder; the seconds it took and its output.

    :param checkout: where `sqla_typedpool` is imported from.
    """
    environment = os.environ | {"PYTHONPATH": f"{checkout}{os.pathsep}{folder}", "NO_COLOR": "1"}
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    took = time.perf_counter() - began
    if ended.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{ended.stdout}{ended.stderr}")
    return took, ended.stdout.strip()


def commands(names: list[str], url: str) -> dict[str, tuple[str, ...]]:
    modules = [f"{name}.{each}" for name in names for each in ("catalogue", "orders", "reports")]
    imported = ", ".join(["asyncpg", "sqla_typedpool.cli", *modules])
    tool = ("-m", "sqla_typedpool")
    return {
        "imports": ("-c", f"import {imported}"),
        "prepare": (*tool, "prepare", *names, "--database-url", url),
        "check, database": (*tool, "check", *names, "--database-url", url),
        "check, offline": (*tool, "check", "--offline", *names),
    }


def main() -> None:
    copies = int((sys.argv[1:] or [str(COPIES)])[0])
    print(headline(machine()))
    with tempfile.TemporaryDirectory() as made, Postgres.start() as postgres:
        folder, url = Path(made), postgres.url("asyncpg")
        names = copy_queries(folder, copies)
        asyncio.run(make_tables(url))
        taken: dict[str, list[float]] = {}
        output: dict[str, str] = {}
        for _ in range(RUNS):
            for name, arguments in commands(names, url).items():
                seconds, output[name] = run(folder, *arguments)
                taken.setdefault(name, []).append(seconds)
    rows = [("command", "output", "median s", "minimum s")]
    for name, values in taken.items():
        last = output[name].splitlines()[-1] if output[name] else ""
        rows.append((name, last, f"{statistics.median(values):.2f}", f"{min(values):.2f}"))
    print("\n".join(aligned(rows)))


if __name__ == "__main__":
    main()
