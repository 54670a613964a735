"""`python -m benchmarks.viewers`: what viewers of the live page cost the application.

The application (Starlette, uvicorn, PostgreSQL) and the viewers are processes of their own. This
process sends requests that run one statement each, in rounds with and without viewers, which only
read. `none again` is the case without viewers a second time: its difference from 1 is the noise.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from benchmarks.interleave import Comparison, Goal, Reading, Rounds, percentile
from benchmarks.machine_load import taken_by_others
from benchmarks.report import table
from sqla_typedpool import fetch_one
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.embedded.process import free_port
from sqla_typedpool.integrations.asgi import PoolMonitor
from tests.support.engines import engine_on

HOST = "127.0.0.1"
CLIENTS = 4
START_SECONDS = 30.0
P50, P99, CPU = "p50, ms", "p99, ms", "CPU of a request, us"
_SPAWNED = multiprocessing.get_context("spawn")


def serve(url: str, port: int) -> None:
    """Run the application, in a process of its own."""

    async def main() -> None:
        async with engine_on(url, pool_name="orders") as engine:

            async def work(request: Any) -> PlainTextResponse:
                return PlainTextResponse(str(await fetch_one(engine, int, "SELECT 1")))

            monitor = PoolMonitor(engine, unsafe_public=True)
            app = Starlette(routes=[Route("/work", work), Mount("/_pool", monitor)])
            config = uvicorn.Config(app, host=HOST, port=port, log_config=None, access_log=False)
            await uvicorn.Server(config).serve()

    asyncio.run(main())


def view(port: int, viewers: int) -> None:
    """Read the events as so many browsers do, in a process of its own, until it is terminated."""

    async def watch() -> None:
        while True:
            reader, writer = await request(port, "/_pool/events", "close")
            while await reader.read(65536):
                pass
            writer.close()
            await asyncio.sleep(0.5)

    async def main() -> None:
        await asyncio.gather(*(watch() for _ in range(viewers)))

    asyncio.run(main())


async def request(
    port: int, path: str, connection: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect and send a request."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(_request(path, connection))
    return reader, writer


def _request(path: str, connection: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n".encode()


@contextmanager
def running(target: Any, *arguments: Any) -> Iterator[int]:
    """Run a function in a process of its own inside the block; return the process number."""
    process = _SPAWNED.Process(target=target, args=arguments)
    process.start()
    try:
        yield process.pid or 0
    finally:
        process.terminate()
        process.join()


async def work(port: int, seconds: float, taken: list[float]) -> None:
    """Send one request after the other on one connection, and keep how long each took."""
    reader, writer = await asyncio.open_connection(HOST, port)
    end = perf_counter() + seconds
    while (began := perf_counter()) < end:
        writer.write(_request("/work", "keep-alive"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(1)
        taken.append(1000 * (perf_counter() - began))
    writer.close()


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used, from /proc of Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def turn(port: int, application: int, seconds: float, viewers: int) -> Reading:
    """Measure requests for some seconds, beside so many viewers."""
    with running(view, port, viewers):
        await asyncio.sleep(2)  # until all are connected
        taken: list[float] = []
        before = processor_seconds(application)
        await asyncio.gather(*(work(port, seconds, taken) for _ in range(CLIENTS)))
        used = 1e6 * (processor_seconds(application) - before) / len(taken)
    await asyncio.sleep(2.5)  # until no states are made
    return {P50: percentile(taken, 50), P99: percentile(taken, 99), CPU: used}


async def until_served(port: int) -> None:
    """Wait until the application answers."""
    end = perf_counter() + START_SECONDS
    while True:
        try:
            await work(port, 0.5, [])
            return
        except OSError:
            if perf_counter() > end:
                raise
            await asyncio.sleep(0.1)


async def compare(
    port: int, application: int, rounds: int, seconds: float, viewers: int
) -> Comparison:
    """Measure in rounds."""
    await until_served(port)
    watched = f"{viewers} viewers"
    subjects = {"no viewers": 0, "none again": 0, watched: viewers}
    turns = {
        name: partial(turn, port, application, seconds, count) for name, count in subjects.items()
    }
    measured = Rounds(turns, seed=1)
    for _ in range(rounds):
        await measured.run_one()
    goals = [
        Goal(metric, subject, limit, compared_to="no viewers")
        for subject in ("none again", watched)
        for metric, limit in ((P50, 1.05 if subject == watched else None), (P99, None), (CPU, None))
    ]
    return Comparison("Viewers of the live page", measured.readings, goals)


def main() -> None:
    """Compare, and print the table with the load of the machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewers", description=__doc__)
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    given = parser.parse_args()
    before, port = taken_by_others(1.0), free_port()
    with Postgres.start() as server, running(serve, server.url("asyncpg"), port) as pid:
        found = asyncio.run(compare(port, pid, given.rounds, given.seconds, given.viewers))
    print(*table([found]), sep="\n")
    print(f"taken by other processes: {before:.0f} % before, {taken_by_others(1.0):.0f} % after;")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
