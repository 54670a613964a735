"""`python -m benchmarks.stream_memory [rows]`: memory used while ten million rows are streamed.

Prints the resident memory after the first 100,000 rows and at the end.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import TypedPool, stream
from sqla_typedpool.embedded import Postgres

ROWS = 10_000_000
WARM = 100_000
SQL = "SELECT g AS id, 'name ' || g AS name FROM generate_series(1, :rows) AS g"


@dataclass(slots=True)
class User:
    id: int
    name: str


def resident() -> float:
    """Resident memory of this process in MB."""
    gc.collect()
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


async def measure(url: str, rows: int) -> None:
    engine = create_async_engine(url, poolclass=TypedPool)
    started, warm, count = perf_counter(), 0.0, 0
    async with aclosing(stream(engine, User, SQL, {"rows": rows})) as users:
        async for user in users:  # noqa: B007 - the last one is checked below
            count += 1
            if count == WARM:
                warm = resident()
    assert user.id == count == rows
    seconds = perf_counter() - started
    print(f"{count:,} rows in {seconds:.0f} s ({seconds / count * 1e6:.2f} us each)")
    print(f"{warm:.1f} MB after {WARM:,} rows, {resident():.1f} MB at the end")
    await engine.dispose()


if __name__ == "__main__":
    with Postgres.start() as postgres:
        asyncio.run(measure(postgres.url("asyncpg"), int((sys.argv[1:] or [str(ROWS)])[0])))
