"""The demo: its figures, its output, its command line, and that it removes its server."""

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
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, exc

from examples.demo import __main__ as command
from examples.demo import figures as fig
from examples.demo.captured_log import captured_log, summary
from examples.demo.checked_query import finding
from examples.demo.database import (
    DemoError,
    observer_engine,
    parse_url,
    within,
    without_passwords,
)
from examples.demo.interrupt import StopOnSignal
from examples.demo.load import QUERIES, Workload, kind_of
from examples.demo.output import PlainOutput, plain_table
from examples.demo.overload import (
    OpenedPool,
    OverloadFigures,
    OverloadRun,
    arrivals,
    capacity,
    overload,
)
from examples.demo.overload import line as overload_line
from examples.demo.pool_run import STOCK, TYPED, PoolRun, Progress, RunSettings, Schedule
from examples.demo.report import Row, comparison, introduction, milliseconds, reading_notes
from examples.demo.run import Options
from examples.demo.terminal import live_table, output_for
from examples.demo.typed_rows import DECLARED, Setting, typed_rows
from sqla_typedpool.embedded import Postgres

ROOT = Path(__file__).parents[3]
NO_SERVER = "postgresql://me:s3cret@127.0.0.1:1/shop"


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


def test_the_recovery_is_measured_from_the_end_of_the_outage() -> None:
    responses = [
        fig.Response(worker=0, at=9.0, rows=1),  # before the end of the outage
        fig.Response(worker=1, at=10.5, rows=1),
        fig.Response(worker=0, at=11.0, rows=1),
        fig.Response(worker=1, at=12.0, rows=1),
    ]
    outage = fig.Outage(began=9.5, ended=10.0)
    assert fig.recovery(responses, outage, workers=2) == (0.5, 1.0)
    assert fig.recovery(responses, outage, workers=3) == (0.5, None)
    assert fig.recovery([], outage, workers=2) == (None, None)


def test_only_checkouts_that_ended_before_the_crash_count_as_steady_load() -> None:
    records = fig.Records(
        checkouts=[
            fig.Checkout(0.5, 0.9),  # warm-up
            fig.Checkout(2.0, 0.001),
            fig.Checkout(3.0, 0.003),
            fig.Checkout(4.9, 0.2),  # still waiting at the crash
            fig.Checkout(7.0, 0.002),
        ],
        failures=[
            fig.Failure(5.0, fig.CONNECTION_LOST, "gone"),
            fig.Failure(5.1, fig.CONNECTION_LOST, "too"),
        ],
        opened=[0.1, 0.2, 6.0],
    )
    outage = fig.Outage(began=5.1, ended=6.1)
    timeline = fig.Timeline(steady_from=1.0, crash=5.0, outage=outage, end=10.0)
    run = fig.figures("a pool", records, timeline, workers=1, idle_connections=3)
    assert run.steady == fig.CheckoutTimes(p50_ms=1.0, p99_ms=3.0, max_ms=3.0)
    assert run.later_max_ms == pytest.approx(200)
    assert (run.opened_before, run.opened_after) == (2, 1)
    assert run.outage_ms == pytest.approx(1000)
    assert run.failed == 2
    assert run.examples == {fig.CONNECTION_LOST: "gone"}


def test_the_figures_can_be_written_as_json() -> None:
    timeline = fig.Timeline(steady_from=1.0, crash=None, outage=None, end=10.0)
    run = fig.figures("a pool", fig.Records(), timeline, workers=1, idle_connections=None)
    assert json.loads(json.dumps(run.as_json()))["failures"] == dict.fromkeys(fig.FAILURE_KINDS, 0)


def test_a_failure_is_classified_by_the_stage_of_the_request() -> None:
    assert kind_of(exc.TimeoutError(), connected=False) == fig.POOL_TIMED_OUT
    assert kind_of(ConnectionRefusedError(), connected=False) == fig.CONNECT_FAILED
    assert kind_of(exc.OperationalError("", {}, Exception()), connected=True) == fig.CONNECTION_LOST


def test_both_pools_get_the_same_requests() -> None:
    workload = Workload(names=tuple(("a", "b", "c") if q.names else () for q in QUERIES))
    first, second = random.Random("2024:7"), random.Random("2024:7")
    draws = [workload.draw(first) for _ in range(200)]
    assert draws == [workload.draw(second) for _ in range(200)]
    assert {name for _, parameters in draws for name in parameters.values()} == {"a", "b", "c"}


# --- overload ----------------------------------------------------------------------------------


def overloaded(request: Callable[[], Awaitable[None]]) -> OverloadFigures:
    """The figures of a tenth of a second, of a pool whose requests are these calls."""
    run = OverloadRun(OpenedPool(request, []), OverloadFigures("a pool"))
    return asyncio.run(run.run(arrivals(0.1)))


def test_all_pools_get_the_same_requests_under_overload() -> None:
    moments = arrivals(5)
    assert moments == arrivals(5)
    assert 1400 < len(moments) < 1600  # 1.5 times of what 10 connections can serve
    assert capacity(5) == 1000


def test_a_request_that_is_answered_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.demo.overload.PATIENCE", 60)
    figures = overloaded(partial(asyncio.sleep, 0))
    assert figures.answered == figures.arrived > 10
    assert figures.p50_ms is not None


def test_a_caller_that_gives_up_is_not_answered() -> None:
    figures = overloaded(partial(asyncio.sleep, 60))
    assert figures.gave_up == figures.arrived > 10
    assert (figures.answered, figures.p50_ms) == (0, None)


def test_an_error_under_overload_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.demo.overload.PATIENCE", 60)

    async def fail() -> None:
        raise OSError

    figures = overloaded(fail)
    assert figures.failed == figures.arrived > 10


def test_an_interrupted_overload_leaves_no_request_behind() -> None:
    ended: list[str] = []

    async def request() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("request")

    async def main() -> int:
        run = OverloadRun(OpenedPool(request, []), OverloadFigures("a pool"))
        running = asyncio.ensure_future(run.run([0.0, 0.0, 60.0]))
        await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait({running}, timeout=5)
        return len(ended)

    assert asyncio.run(main()) == 2


def test_the_result_of_an_overload_is_one_line() -> None:
    figures = OverloadFigures("a pool", arrived=1500, answered=990, gave_up=510, p50_ms=61.4)
    expected = "a pool          990 of 1,500 = 99 % of the capacity, median 61 ms"
    assert overload_line(figures, 5) == expected


def test_every_request_of_an_overload_is_answered_given_up_or_failed(postgres: Postgres) -> None:
    url = parse_url(postgres.url())
    found = asyncio.run(overload(url, 0.5, lambda figures, log: None))
    assert [figures.pool for figures in found] == ["stock pool", "asyncpg.Pool", "TypedPool"]
    for figures in found:
        assert figures.arrived == len(arrivals(0.5))
        assert figures.answered + figures.gave_up + figures.failed == figures.arrived


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
def test_any_common_postgresql_url_becomes_one_for_asyncpg(given: str, expected: str) -> None:
    assert parse_url(given).render_as_string() == expected


def test_a_url_is_printed_without_its_passwords() -> None:
    url = parse_url("postgresql://u:s3cret@h/d?password=s3cret&sslpassword=s3cret&ssl=on")
    assert "s3cret" not in without_passwords(url)
    assert "ssl=on" in without_passwords(url)


def test_text_that_is_not_a_url_is_not_repeated() -> None:
    with pytest.raises(DemoError) as error:
        parse_url("postgresql://u:s3cret@h:port/d")
    assert "s3cret" not in str(error.value)


# --- what is printed ---------------------------------------------------------------------------

TABLE = """\
-----------------------------------------
                    stock pool  TypedPool
-----------------------------------------
requests completed       5,012      5,100
time of a checkout
  maximum             1,234 ms    0.05 ms
-----------------------------------------"""


def test_the_table_is_aligned_text() -> None:
    rows = [
        Row("requests completed", "5,012", "5,100"),
        Row("time of a checkout"),
        Row("  maximum", "1,234 ms", "0.05 ms"),
    ]
    assert plain_table(("stock pool", "TypedPool"), rows) == TABLE


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0512, "0.05 ms"), (9.994, "9.99 ms"), (12.4, "12 ms"), (1234.5, "1,234 ms")],
)
def test_short_times_are_printed_with_decimals(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


PROGRESS = """\
    0.5 s  stock pool  warm-up          1,200 completed     3 failed  server: 10 connections
    1.5 s  stock pool  steady load      1,200 completed     3 failed  server: 10 connections
    3.5 s  stock pool  steady load      1,200 completed     3 failed  server: 10 connections
    4.0 s  stock pool  server is down   1,300 completed     9 failed  server: no answer
"""


def test_plain_progress_is_a_line_for_each_phase_and_each_two_seconds() -> None:
    stream = io.StringIO()
    output = PlainOutput(stream)
    for elapsed, phase in [
        (0.5, "warm-up"),
        (1.0, "warm-up"),
        (1.5, "steady load"),
        (3.5, "steady load"),
    ]:
        output.progress(Progress("stock pool", phase, elapsed, 1200, 3, 0.5, 10))
    output.progress(Progress("stock pool", "server is down", 4.0, 1300, 9, None, None))
    assert stream.getvalue() == PROGRESS


def test_the_output_is_plain_without_a_terminal_and_with_the_option_plain() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(output_for(io.StringIO(), plain=False), PlainOutput)
    assert isinstance(output_for(Terminal(), plain=True), PlainOutput)


def test_the_output_is_plain_if_rich_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("examples.demo.terminal.find_spec", lambda name: None)
    assert isinstance(output_for(Terminal(), plain=False), PlainOutput)


def test_the_live_table_has_a_row_for_the_pool_that_has_not_started() -> None:
    console = pytest.importorskip("rich.console").Console(width=100, file=io.StringIO())
    progress = Progress("stock pool", "server is down", 4.0, 1300, 9, 0.5, None)
    console.print(live_table({"stock pool": progress}))
    printed = console.file.getvalue()
    assert "no answer" in printed
    assert "not started" in printed


def test_the_live_table_is_whole_in_80_columns() -> None:
    console = pytest.importorskip("rich.console").Console(width=80, file=io.StringIO())
    stock = Progress("stock pool", "server is down", 12.0, 15_144, 5_115, 151.4, None)
    typed = Progress("TypedPool", "server is back", 12.0, 15_144, 5_115, 151.4, 10)
    console.print(live_table({"stock pool": stock, "TypedPool": typed}))
    first, second = console.file.getvalue().splitlines()[-3:-1]
    assert first.rstrip().endswith("  15,144   5,115        151 ms    no answer")
    assert second.rstrip().endswith("  15,144   5,115        151 ms           10")


def test_the_log_of_a_run_is_printed_at_its_end_with_one_line_for_each_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with captured_log() as log:
        for seconds in (2.5, 3.5):
            logging.getLogger("a.pool").warning("slow: %s s", seconds)
        logging.getLogger("a.pool").info("not kept")
    assert summary(log.entries) == ["WARNING a.pool: slow: 2.5 s (and 1 similar)"]
    assert log not in logging.getLogger().handlers
    assert capsys.readouterr().err == ""


# --- the command line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seconds", "0"], "0 is not between 2 and 600"),
        (["--seconds", "nan"], "nan is not between 2 and 600"),
        (["--seconds", "soon"], "invalid number value: 'soon'"),
        (["--workers", "0"], "0 is not between 1 and 1000"),
        (["--workers", "2.5"], "invalid whole number value: '2.5'"),
    ],
)
def test_a_wrong_number_is_a_usage_error_that_names_the_bounds(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_the_options_of_the_command_line_reach_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Options] = []
    monkeypatch.setattr(command, "run", seen.append)
    arguments = [
        "--database-url",
        "postgresql://h/d",
        "--seconds",
        "5",
        "--workers",
        "7",
        "--plain",
    ]
    assert command.main([*arguments, "--json", "f.json"]) == 0
    assert seen == [Options("postgresql://h/d", 5.0, 7, True, None, Path("f.json"))]


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        (
            "mysql://me:s3cret@h/shop",
            "needs PostgreSQL, and --database-url is mysql://me:***@h/shop",
        ),
        ("sqlite:///s3cret.db", "needs PostgreSQL"),
        ("oddbase://me:s3cret@h/shop", "oddbase is not supported; next: use one of"),
        ("postgresql+asynpg://me:s3cret@h/shop", "did you mean asyncpg?"),
        ("", "--database-url is empty"),
        ("me:s3cret@h/shop", "not a database URL"),
        (NO_SERVER, "cannot use postgresql+asyncpg://me:***@127.0.0.1:1/shop"),
        (NO_SERVER + "?sslkey=s3cret", "cannot use"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence_without_the_password(
    url: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--database-url", url]) == 2
    printed = capsys.readouterr()
    assert hint in printed.err
    assert printed.err.count("\n") == 1
    assert "me:s3cret" not in printed.out + printed.err
    assert "Traceback" not in printed.err


def test_a_json_file_in_a_folder_that_does_not_exist_is_an_error_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--json", str(tmp_path / "none" / "f.json")]) == 2
    assert "does not exist" in capsys.readouterr().err


# --- stopping ----------------------------------------------------------------------------------


def test_a_signal_cancels_the_run_once_and_the_clean_up_is_completed() -> None:
    cleaned: list[str] = []

    async def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(30)
        finally:
            os.kill(os.getpid(), signal.SIGINT)  # a second Ctrl-C
            await asyncio.sleep(0.01)
            cleaned.append("all")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), StopOnSignal() as stop:
        stop.run(main())
    assert cleaned == ["all"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_wait_ends_after_its_limit() -> None:
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(within(0.01, asyncio.sleep(30)))
    assert asyncio.run(within(5, asyncio.sleep(0, "here"))) == "here"


# --- the whole demo, on a real server ----------------------------------------------------------


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """The temporary folder of the demo's process; like /tmp, every account may enter it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def start_demo(own_folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo in a separate process; its output is plain."""
    return subprocess.Popen(
        [sys.executable, "-m", "examples.demo", "--seconds", "4", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(own_folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_of(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """Return the output; if the demo does not end in time, stop it and fail the test."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate()
        pytest.fail(f"the demo did not end within {seconds} s:\n{out}\n{err}")


def assert_no_process_or_file_is_left(own_folder: Path) -> None:
    listing = subprocess.run(
        ["ps", "-A", "-o", "args="], capture_output=True, text=True, check=True
    )
    assert not [line for line in listing.stdout.splitlines() if str(own_folder) in line]
    assert list(own_folder.iterdir()) == []


def run_without_restart(url: URL) -> tuple[list[fig.PoolFigures], RunSettings]:
    """Run both pools for a second, without a crash."""

    async def main() -> tuple[list[fig.PoolFigures], RunSettings]:
        observer = observer_engine(url)
        workload = await Workload.prepare(observer)
        schedule = Schedule(load=1, idle=0.1)
        settings = RunSettings(url, observer, workload, 4, schedule, restart=None)
        runs = [
            await PoolRun(setup, settings, lambda progress: None).run() for setup in (STOCK, TYPED)
        ]
        await observer.dispose()
        return runs, settings

    return asyncio.run(main())


def test_on_your_own_database_nothing_is_restarted_and_nothing_fails(postgres: Postgres) -> None:
    runs, settings = run_without_restart(parse_url(postgres.url()))
    assert [run.failed for run in runs] == [0, 0]
    assert all(run.completed > 20 and run.steady.p50_ms for run in runs)
    assert [run.outage_ms for run in runs] == [None, None]
    labels = " ".join(row.label for row in comparison(runs[0], runs[1], settings))
    assert "99th percentile" in labels
    assert "crash" not in labels + " ".join([*introduction(settings), *reading_notes(settings)])


def test_typed_rows_are_returned_and_an_undeclared_null_is_an_error(postgres: Postgres) -> None:
    rows, message = asyncio.run(typed_rows(parse_url(postgres.url())))
    assert rows[0].startswith("Setting(name='max_connections', setting='200', unit=None, ")
    assert rows[1].startswith("Setting(name='shared_buffers', ")
    assert message.startswith('row 1, column "unit": expected str, found NULL; ')


def test_the_checker_finds_the_column_that_may_be_null(
    postgres: Postgres,
) -> None:
    found = asyncio.run(finding(parse_url(postgres.url()), 75))
    assert 'error[TP101] "tablespace" may be NULL' in found
    assert "s may be missing (LEFT JOIN)" in found
    assert found.count("error[") == 1


def test_the_class_in_the_output_is_the_one_that_is_used() -> None:
    names: dict[str, Any] = {"dataclass": dataclasses.dataclass}
    exec(DECLARED, names)
    assert names["Setting"].__annotations__ == Setting.__annotations__


@pytest.mark.usefixtures("postgres")
@pytest.mark.slow
def test_a_short_demo_prints_the_table_and_removes_its_server(
    own_folder: Path, tmp_path: Path
) -> None:
    written = tmp_path / "figures.json"
    process = start_demo(own_folder, "--workers", "12", "--json", str(written))
    out, err = end_of(process, 60)
    assert (process.returncode, err) == (0, "")
    for line in (
        "requests completed",
        "all 12 callers served",
        "    Setting(name='max_connections', ",
        '    RowValueError: row 1, column "unit": expected str, found NULL',
        'error[TP101] "tablespace" may be NULL',
        "Answered in time:",
        "    asyncpg.Pool  ",
        "poolclass=TypedPool",
    ):
        assert line in out
    written_figures = json.loads(written.read_text())
    runs = written_figures["runs"]
    assert [run["pool"] for run in written_figures["overload"]] == [
        "stock pool",
        "asyncpg.Pool",
        "TypedPool",
    ]
    assert [run["pool"] for run in runs] == ["stock pool", "TypedPool"]
    assert all(run["completed"] > 100 and run["first_response_ms"] for run in runs)
    assert_no_process_or_file_is_left(own_folder)


@pytest.mark.usefixtures("postgres")
@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        "Starting a temporary PostgreSQL",
        "steady load",
        "server is down",
        "no requests",
        "Overload.",
    ],
)
def test_ctrl_c_at_any_moment_removes_the_server(own_folder: Path, moment: str) -> None:
    process = start_demo(own_folder)
    assert process.stdout is not None
    for line in process.stdout:
        if moment in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = end_of(process, 30)
    assert process.returncode == 130
    assert err == "demo: interrupted; its server and its files are removed\n"
    assert_no_process_or_file_is_left(own_folder)
