"""The demo: its figures, its words, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, exc

from sqla_typedpool.demo import figures as fig
from sqla_typedpool.demo.checked import finding
from sqla_typedpool.demo.interrupt import StopOnce
from sqla_typedpool.demo.leg import CONTENDERS, Leg, Progress, Stage, Timetable
from sqla_typedpool.demo.load import QUESTIONS, Workload, kind_of
from sqla_typedpool.demo.logbook import digest, logbook
from sqla_typedpool.demo.report import (
    Row,
    comparison,
    milliseconds,
    reading_notes,
    script_notes,
)
from sqla_typedpool.demo.rows import DECLARED, Setting, typed_rows
from sqla_typedpool.demo.show import PlainShow, make_show, plain_table
from sqla_typedpool.demo.target import DemoError, observer_engine, parse_url, shown, within
from sqla_typedpool.embedded import Postgres

ROOT = Path(__file__).parent.parent


# --- figures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, None),
        ([7.0], 1, 7.0),
        ([7.0], 99, 7.0),
        ([4.0, 1.0, 3.0, 2.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 101)], 100, 100.0),
        ([1.0, 2.0], 0, 1.0),
    ],
)
def test_a_percentile_is_a_value_that_occurred(
    values: list[float], percent: float, expected: float | None
) -> None:
    assert fig.percentile(values, percent) == expected


def test_recovery_counts_from_the_servers_return_and_each_workers_first_answer() -> None:
    answers = [
        fig.Answer(worker=0, at=9.0, rows=1),  # before the outage ended
        fig.Answer(worker=1, at=10.5, rows=1),
        fig.Answer(worker=0, at=11.0, rows=1),
        fig.Answer(worker=1, at=12.0, rows=1),
    ]
    outage = fig.Outage(began=9.5, ended=10.0)
    assert fig.recovery(answers, outage, workers=2) == (0.5, 1.0)
    assert fig.recovery(answers, outage, workers=3) == (0.5, None)
    assert fig.recovery([], outage, workers=2) == (None, None)


def test_checkouts_are_calm_only_if_they_ended_before_the_crash() -> None:
    records = fig.Records(
        checkouts=[
            fig.Checkout(0.5, 0.9),  # warm-up
            fig.Checkout(2.0, 0.001),
            fig.Checkout(3.0, 0.003),
            fig.Checkout(4.9, 0.2),  # still waiting when the server died
            fig.Checkout(7.0, 0.002),
        ],
        failures=[fig.Failure(5.0, fig.CUT_OFF, "gone"), fig.Failure(5.1, fig.CUT_OFF, "too")],
        opened=[0.1, 0.2, 6.0],
    )
    outage = fig.Outage(began=5.1, ended=6.1)
    windows = fig.Windows(calm_from=1.0, restart=5.0, outage=outage, end=10.0)
    leg = fig.figures("a pool", records, windows, workers=1, idle_connections=3)
    assert leg.calm == fig.Waits(p50_ms=1.0, p99_ms=3.0, max_ms=3.0)
    assert leg.later_max_ms == pytest.approx(200)
    assert (leg.opened_before, leg.opened_after) == (2, 1)
    assert leg.outage_ms == pytest.approx(1000)
    assert leg.failed == 2
    assert leg.examples == {fig.CUT_OFF: "gone"}


def test_figures_are_json() -> None:
    windows = fig.Windows(calm_from=1.0, restart=None, outage=None, end=10.0)
    leg = fig.figures("a pool", fig.Records(), windows, workers=1, idle_connections=None)
    assert json.loads(json.dumps(leg.as_json()))["failures"] == dict.fromkeys(fig.FAILURE_KINDS, 0)


def test_a_failure_is_named_after_how_far_the_request_had_come() -> None:
    assert kind_of(exc.TimeoutError(), connected=False) == fig.TIMED_OUT
    assert kind_of(ConnectionRefusedError(), connected=False) == fig.NOT_CONNECTED
    assert kind_of(exc.OperationalError("", {}, Exception()), connected=True) == fig.CUT_OFF


def test_both_legs_draw_the_same_questions() -> None:
    workload = Workload(names=tuple(("a", "b", "c") if q.names else () for q in QUESTIONS))
    first, second = random.Random("2024:7"), random.Random("2024:7")
    draws = [workload.draw(first) for _ in range(200)]
    assert draws == [workload.draw(second) for _ in range(200)]
    assert {name for _, parameters in draws for name in parameters.values()} == {"a", "b", "c"}


# --- the database's URL ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgres://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u@h:5433/d", "postgresql+asyncpg://u@h:5433/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
    ],
)
def test_any_common_postgresql_url_is_read_through_asyncpg(given: str, expected: str) -> None:
    assert parse_url(given).render_as_string() == expected


def test_a_url_is_shown_without_its_passwords() -> None:
    url = parse_url("postgresql://u:s3cret@h/d?password=s3cret&sslpassword=s3cret&ssl=on")
    assert "s3cret" not in shown(url)
    assert "ssl=on" in shown(url)


def test_what_does_not_parse_is_not_repeated() -> None:
    with pytest.raises(DemoError) as error:
        parse_url("postgresql://u:s3cret@h:port/d")
    assert "s3cret" not in str(error.value)


# --- what is printed ---------------------------------------------------------------------------

TABLE = """\
-----------------------------------------------
                          stock pool  TypedPool
-----------------------------------------------
requests answered              5,012      5,100
time to get a connection
  the slowest               1,234 ms    0.05 ms
-----------------------------------------------"""


def test_the_table_is_aligned_text() -> None:
    rows = [
        Row("requests answered", "5,012", "5,100"),
        Row("time to get a connection"),
        Row("  the slowest", "1,234 ms", "0.05 ms"),
    ]
    assert plain_table(("stock pool", "TypedPool"), rows) == TABLE


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0512, "0.05 ms"), (9.994, "9.99 ms"), (12.4, "12 ms"), (1234.5, "1,234 ms")],
)
def test_milliseconds_are_as_fine_as_they_are_small(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


PROGRESS = """\
    0.5 s  stock pool  warm-up          1,200 answered     3 failed  server: 10 connections
    1.5 s  stock pool  steady load      1,200 answered     3 failed  server: 10 connections
    3.5 s  stock pool  steady load      1,200 answered     3 failed  server: 10 connections
    4.0 s  stock pool  server is away   1,300 answered     9 failed  server: no answer
"""


def test_plain_progress_is_a_line_per_phase_and_now_and_then() -> None:
    stream = io.StringIO()
    show = PlainShow(stream)
    for elapsed, phase in [
        (0.5, "warm-up"),
        (1.0, "warm-up"),
        (1.5, "steady load"),
        (3.5, "steady load"),
    ]:
        show.progress(Progress("stock pool", phase, elapsed, 1200, 3, 0.5, 10))
    show.progress(Progress("stock pool", "server is away", 4.0, 1300, 9, None, None))
    assert stream.getvalue() == PROGRESS


def test_plain_lines_where_there_is_no_terminal_or_when_asked() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(make_show(io.StringIO(), plain=False), PlainShow)
    assert isinstance(make_show(Terminal(), plain=True), PlainShow)


def test_plain_lines_where_rich_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sqla_typedpool.demo.show.find_spec", lambda name: None)
    assert isinstance(make_show(Terminal(), plain=False), PlainShow)


def test_the_live_table_has_a_row_for_the_pool_that_waits() -> None:
    console = pytest.importorskip("rich.console").Console(width=100, file=io.StringIO())
    from sqla_typedpool.demo.live import live_table

    progress = Progress("stock pool", "server is away", 4.0, 1300, 9, 0.5, None)
    console.print(live_table({"stock pool": progress}))
    printed = console.file.getvalue()
    assert "no answer" in printed
    assert "waits for its turn" in printed


def test_the_log_is_kept_during_a_run_and_told_once_per_kind_of_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with logbook() as book:
        for seconds in (2.5, 3.5):
            logging.getLogger("a.pool").warning("slow: %s s", seconds)
        logging.getLogger("a.pool").info("not worth a line")
    assert digest(book.entries) == ["WARNING a.pool: slow: 2.5 s (and 1 more like it)"]
    assert book not in logging.getLogger().handlers
    assert capsys.readouterr().err == ""


# --- stopping ----------------------------------------------------------------------------------


def test_a_signal_cancels_the_run_once_and_its_clean_up_is_awaited() -> None:
    cleaned: list[str] = []

    async def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(30)
        finally:
            os.kill(os.getpid(), signal.SIGINT)  # an impatient second one
            await asyncio.sleep(0.01)
            cleaned.append("all")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), StopOnce() as stop:
        stop.run(main())
    assert cleaned == ["all"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_answer_that_does_not_come_is_given_up() -> None:
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(within(0.01, asyncio.sleep(30)))
    assert asyncio.run(within(5, asyncio.sleep(0, "here"))) == "here"


# --- the whole demo, on a real server ----------------------------------------------------------


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """The temporary folder of the demo's process; every account may enter it, as /tmp."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def start_demo(own_folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The demo in a process of its own, with plain output."""
    return subprocess.Popen(
        [sys.executable, "-m", "sqla_typedpool", "demo", "--seconds", "4", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(own_folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_of(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """What the demo printed; one that does not end is stopped, and what it printed is told."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate()
        pytest.fail(f"the demo did not end within {seconds} s:\n{out}\n{err}")


def assert_nothing_is_left(own_folder: Path) -> None:
    listing = subprocess.run(
        ["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True
    )
    assert not [line for line in listing.stdout.splitlines() if str(own_folder) in line]
    assert list(own_folder.iterdir()) == []


def play_on_your_own_database(url: URL) -> tuple[list[fig.LegFigures], Stage]:
    """Both legs, each as short as can be, without a crash."""

    async def play() -> tuple[list[fig.LegFigures], Stage]:
        observer = observer_engine(url)
        workload = await Workload.prepare(observer)
        stage = Stage(url, observer, workload, 4, Timetable(load=1, quiet=0.1), restart=None)
        legs = [
            await Leg(contender, stage, lambda progress: None).play() for contender in CONTENDERS
        ]
        await observer.dispose()
        return legs, stage

    return asyncio.run(play())


def test_on_your_own_database_nothing_is_restarted_and_nothing_fails(postgres: Postgres) -> None:
    legs, stage = play_on_your_own_database(parse_url(postgres.url()))
    assert [leg.failed for leg in legs] == [0, 0]
    assert all(leg.answered > 20 and leg.calm.p50_ms and leg.outage_ms is None for leg in legs)
    labels = " ".join(row.label for row in comparison(legs[0], legs[1], stage))
    assert "99 in 100" in labels
    assert "crash" not in labels + " ".join([*script_notes(stage), *reading_notes(stage)])


def test_typed_rows_are_shown_and_a_null_is_refused(postgres: Postgres) -> None:
    rows, message = asyncio.run(typed_rows(parse_url(postgres.url())))
    assert rows[0].startswith("Setting(name='max_connections', setting='200', unit=None, ")
    assert rows[1].startswith("Setting(name='shared_buffers', ")
    assert message.startswith('row 1, column "unit": expected str, found NULL; ')


def test_a_null_that_nobody_thought_of_is_found_in_a_query_that_is_not_run(
    postgres: Postgres,
) -> None:
    shown_finding = asyncio.run(finding(parse_url(postgres.url()), 75))
    assert 'error[TP101] "tablespace" may be NULL' in shown_finding
    assert "s may be missing (LEFT JOIN)" in shown_finding
    assert shown_finding.count("error[") == 1


def test_the_class_that_is_shown_is_the_one_that_is_used() -> None:
    names: dict[str, Any] = {"dataclass": dataclasses.dataclass}
    exec(DECLARED, names)
    assert names["Setting"].__annotations__ == Setting.__annotations__


@pytest.mark.usefixtures("postgres")
@pytest.mark.slow
def test_a_short_demo_ends_with_the_table_and_leaves_nothing(
    own_folder: Path, tmp_path: Path
) -> None:
    written = tmp_path / "figures.json"
    process = start_demo(own_folder, "--workers", "12", "--json", str(written))
    out, err = end_of(process, 50)
    assert (process.returncode, err) == (0, "")
    for line in (
        "requests answered",
        "all 12 callers served again",
        "    Setting(name='max_connections', ",
        '    RowValueError: row 1, column "unit": expected str, found NULL',
        'error[TP101] "tablespace" may be NULL',
        "poolclass=TypedPool",
    ):
        assert line in out
    legs = json.loads(written.read_text())["legs"]
    assert [leg["pool"] for leg in legs] == ["stock pool", "TypedPool"]
    assert all(leg["answered"] > 100 and leg["first_answer_ms"] for leg in legs)
    assert_nothing_is_left(own_folder)


@pytest.mark.usefixtures("postgres")
@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", ["Starting a PostgreSQL", "steady load", "server is away", "nobody asks"]
)
def test_ctrl_c_at_any_moment_leaves_nothing(own_folder: Path, moment: str) -> None:
    process = start_demo(own_folder)
    assert process.stdout is not None
    for line in process.stdout:
        if moment in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = end_of(process, 30)
    assert process.returncode == 130
    assert err == "sqla-typedpool: Interrupted; nothing was left running.\n"
    assert_nothing_is_left(own_folder)
