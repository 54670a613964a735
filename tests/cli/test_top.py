"""`sqla-typedpool top`, with a scripted HTTP server and with a real monitor."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sqla_typedpool import cli
from sqla_typedpool.cli import top, top_client
from sqla_typedpool.cli.top_client import Lost, MonitorClient, State, events_url, header_of
from sqla_typedpool.cli.top_lines import Lines, clock, condition
from sqla_typedpool.cli.top_screen import Screen, screen
from sqla_typedpool.embedded.process import free_port, wait_until
from sqla_typedpool.errors import CannotRun
from tests.integrations.served import load, serving
from tests.integrations.test_metrics import file_engine
from tests.support.commands import ROOT
from tests.support.engines import run
from tests.support.event_server import EventServer, event, state_of, status, stream

SECRET = "hunter2-token"
PATIENCE = 15.0


def found(client: MonitorClient, count: int) -> list[State | Lost]:
    """Return so many states of a client, which does not pause between attempts."""
    states = client.states()
    return [next(states) for _ in range(count)]


def client_of(url: str, *headers: tuple[str, str]) -> MonitorClient:
    return MonitorClient(url, headers, sleep=lambda seconds: None)


def reason_of(url: str, *headers: tuple[str, str]) -> str:
    with pytest.raises(CannotRun) as caught:
        found(client_of(url, *headers), 1)
    return str(caught.value)


# ------------------------------------------------------------------------------ reading


def test_states_are_read_and_other_events_are_not() -> None:
    answer = stream(
        b"retry: 500\n" + event({"points": []}, "past"),
        b": a comment\r\n",
        event(state_of(1)),
        event(state_of(2)).replace(b"\n", b"\r\n"),
    )
    with EventServer.answering(answer) as server:
        assert found(client_of(server.url), 2) == [state_of(1), state_of(2)]
        ((path, headers),) = server.requests
        assert (path, headers["Accept"]) == ("/_pool/events", "text/event-stream")


@pytest.mark.parametrize("suffix", ["", "/", "/events", "?a=b%20c"])
def test_the_url_is_that_of_the_monitor_or_of_its_events(suffix: str) -> None:
    with EventServer.answering(stream(event(state_of()))) as server:
        found(client_of(f"{server.url}{suffix}"), 1)
        query = suffix.partition("?")[2]
        assert server.requests[0][0] == f"/_pool/events{f'?{query}' if query else ''}"


def test_a_stream_that_ends_is_opened_again_and_no_state_is_shown_twice() -> None:
    first = stream(event(state_of(1)), event(state_of(2)))
    second = stream(event(state_of(2)), event(state_of(3)))
    with EventServer.answering(first, second) as server:
        assert found(client_of(server.url), 3) == [state_of(number) for number in (1, 2, 3)]


def test_the_headers_are_sent_with_each_request() -> None:
    with EventServer.answering(stream(event(state_of(1))), stream(event(state_of(2)))) as server:
        found(client_of(server.url, ("Authorization", f"Bearer {SECRET}"), ("X-Team", "db")), 2)
        for _, headers in server.requests:
            assert headers["Authorization"] == f"Bearer {SECRET}"
            assert headers["X-Team"] == "db"


def test_control_characters_do_not_reach_the_terminal() -> None:
    with EventServer.answering(stream(event(state_of(name="\x1b[2Jorders\r\n")))) as server:
        (state,) = found(client_of(server.url), 1)
        assert not isinstance(state, Lost)
        assert state["pools"][0]["name"] == " [2Jorders  "


@pytest.mark.parametrize(
    "answer",
    [
        status(500),
        status(502),
        status(503),
        status(429),
        stream(b""),
        stream(b"data: " + b"x" * 5_000_000 + b"\n\n"),
        lambda handler: handler.connection.close(),
        lambda handler: handler.wfile.write(b"this is not HTTP\r\n\r\n"),
    ],
)
def test_an_application_that_fails_is_asked_again(answer: Any) -> None:
    with EventServer.answering(answer, answer, stream(event(state_of()))) as server:
        *lost, state = found(client_of(server.url), 3)
        assert state == state_of()
        assert all(isinstance(each, Lost) and each.reason for each in lost)


def test_an_application_that_is_gone_is_asked_again_after_a_pause() -> None:
    pauses: list[float] = []
    client = MonitorClient(f"http://127.0.0.1:{free_port()}", (), sleep=pauses.append)
    states = found(client, 3)
    assert [str(each.reason) for each in states if isinstance(each, Lost)] == [
        "Connection refused"
    ] * 3
    assert pauses == [2.0, 2.0]


def test_an_application_that_does_not_answer_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_client, "_TIMEOUT", 0.1)
    ended = threading.Event()
    with EventServer.answering(lambda handler: ended.wait(PATIENCE)) as server:  # type: ignore[arg-type,return-value]
        assert found(client_of(server.url), 1) == [Lost("there was no answer in 0.1 s")]
        ended.set()


# -------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("code", [401, 403])
def test_a_refusal_names_the_header_that_may_be_missing(code: int) -> None:
    with EventServer.answering(status(code)) as server:
        assert f"refuses access ({code})" in reason_of(server.url)
        assert '--header "Authorization: ..."' in reason_of(server.url)
        other = reason_of(server.url, ("X-Token", SECRET))
        assert "check the value of X-Token" in other
        assert SECRET not in other


@pytest.mark.parametrize(
    "answer",
    [status(404), status(200, b"<html>"), stream(event(state_of()), kind="text/html")],
)
def test_an_address_without_a_monitor_is_named(answer: Any) -> None:
    with EventServer.answering(answer) as server:
        reason = reason_of(f"{server.url}?token={SECRET}")
        assert f"{server.url}/events?*** is not a PoolMonitor" in reason
        assert "next: give the URL at which it is mounted" in reason
        assert SECRET not in reason


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b"7", b'{"pools": []}', event({**state_of(), "pools": [{}]})[6:-2]]
)
def test_states_of_another_version_are_an_error(data: bytes) -> None:
    with EventServer.answering(stream(b"data: " + data + b"\n\n")) as server:
        assert "not those of this version" in reason_of(server.url)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://host/", "http://", "http://host:x", "http://[::1", "http://h:0"],
)
def test_what_is_no_url_is_named(url: str) -> None:
    with pytest.raises(CannotRun, match="is no http or https URL; next: give the URL"):
        events_url(url)


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    for url in (f"http://me:{SECRET}@host/", f"me:{SECRET}@host/_pool"):
        with pytest.raises(CannotRun) as caught:
            events_url(url)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
def test_a_host_that_does_not_exist_is_named(host: str) -> None:
    assert f"{host}/_pool/events cannot be reached" in reason_of(f"http://{host}/_pool")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (SECRET, 'is written "Name: value"'),
        (f"a name: {SECRET}", 'is written "Name: value"'),
        (f"X-Token: {SECRET}\r\nX-Other: 1", "the value of X-Token must be printable ASCII"),
        (f"X-Token: {SECRET}ß", "the value of X-Token must be printable ASCII"),
    ],
)
def test_a_header_that_is_none_is_refused_without_its_value(
    given: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["top", "http://host", "--header", given])
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert problem in error
    assert SECRET not in error
    assert header_of("X-Token:  a: b ") == ("X-Token", "a: b")


# ----------------------------------------------------------------------------- redirects


def test_a_redirect_on_the_same_host_is_followed() -> None:
    moved = status(307, Location="/other/events?x=1")
    with EventServer.answering(moved, stream(event(state_of()))) as server:
        found(client_of(server.url, ("X-Token", SECRET)), 1)
        path, headers = server.requests[-1]
        assert (path, headers["X-Token"]) == ("/other/events?x=1", SECRET)


def test_a_redirect_to_another_host_or_port_is_not_followed() -> None:
    with EventServer.answering(stream(event(state_of()))) as other:
        for location in (f"{other.url}/events", "//localhost/events", "ftp://127.0.0.1/"):
            with EventServer.answering(status(302, Location=location)) as server:
                reason = reason_of(server.url, ("X-Token", SECRET))
                assert "redirects to" in reason
                assert "next: give the URL of the PoolMonitor itself" in reason
                assert SECRET not in reason
        assert other.requests == []


def test_a_redirect_never_leads_from_https_to_http() -> None:
    here = events_url("https://host/_pool")
    with pytest.raises(CannotRun, match="redirects to http://host/events"):
        top_client._redirected(here, "http://host/events")
    assert top_client._redirected(events_url("http://host/a"), "https://host/b").scheme == "https"


def test_redirects_in_a_circle_end() -> None:
    with EventServer.answering(status(301, Location="/again")) as server:
        assert "redirects in a circle" in reason_of(server.url)
        assert len(server.requests) == 4


# --------------------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "working"),
        ({"is_closed": True}, "closed"),
        (
            {"outage_seconds": 12.3, "last_connect_error": "ConnectionRefusedError()"},
            "outage: no connection could be opened for 12 s: ConnectionRefusedError()",
        ),
        ({"is_overloaded": True}, "overloaded: callers give up before they are served"),
        (
            {"now": {"in_use": 10, "idle": 0, "connecting": 0, "waiting": 3}},
            "every connection is in use, 3 waiting",
        ),
        ({"now": {"in_use": 10, "idle": 0, "connecting": 0, "waiting": 0}}, "working"),
        ({"max": None, "now": {"in_use": 99, "waiting": 3}}, "working"),
    ],
)
def test_the_condition_of_a_pool(changed: dict[str, Any], expected: str) -> None:
    (pool,) = state_of(**changed)["pools"]
    assert condition(pool) == (expected, expected == "working")


def test_a_line_has_the_numbers_of_a_pool(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().show(state_of(1))
    time_of_day = clock(1_700_000_001.0)
    assert capsys.readouterr().out == (
        f"{time_of_day} orders: working, in use 8 of 10, idle 1, connecting 1, waiting 0,"
        " 35.7 checkouts/s, wait p50 <= 0.1 ms, p99 > 10 s\n"
    )


def test_new_events_are_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for number in (10, 11, 12):
        old, new = ({"event": each, "pool": "orders", "message": "m"} for each in ("leak", "overl"))
        events = [{**new, "time": 1_700_000_010.5}] if number > 10 else []
        lines.show({**state_of(number), "events": [*events, {**old, "time": 1_700_000_001.0}]})
    shown = capsys.readouterr().out.splitlines()
    assert [each for each in shown if "working" not in each] == [
        f"{clock(1_700_000_010.5)} orders: overl: m"
    ]


def test_a_lost_application_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for each in (Lost("refused"), Lost("refused"), state_of(), Lost("refused")):
        lines.show(each)
    out, err = capsys.readouterr()
    assert err.count("the application does not answer: refused; trying again\n") == 2
    assert len(out.splitlines()) == 1


# -------------------------------------------------------------------------------- screen


def drawn(state: State, width: int, height: int = 40) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), record=True)
    console.print(screen(state, width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_screen_fits_the_terminal(width: int) -> None:
    state = state_of(held=30, name="a pool with a rather long name " * 3)
    state["pools"][0]["holders"] *= 20
    happened = {"time": state["time"], "level": "WARNING", "event": "leak", "pool": "orders"}
    state["events"] = [{**happened, "message": "message " * 50}] * 9
    for pools in (1, 2):
        lines = drawn({**state, "pools": state["pools"] * pools}, width)
        assert max(map(len, lines)) <= width
        assert len(lines) < 40
        text = "\n".join(lines)
        assert "8 of 10" in text
        assert "> 10 s" in text
        assert "GET /o" in text
        assert "more" in text


def test_the_bars_are_proportional_and_never_empty_for_one_connection() -> None:
    now = {"in_use": 50, "idle": 1, "connecting": 0, "waiting": 100}
    lines = drawn(state_of(max=100, now=now), 100)
    bars = {
        name: next(line for line in lines if f" {name} " in line).count("█")
        for name in ("in use", "idle", "connecting", "waiting")
    }
    assert bars == {"in use": 30, "idle": 1, "connecting": 0, "waiting": 60}


def test_the_screen_names_reasons_holders_and_outages() -> None:
    state = state_of(outage_seconds=3.0, last_connect_error="ConnectionRefusedError()")
    text = "\n".join(drawn(state, 120))
    assert "no connection could be opened for 3 s: ConnectionRefusedError()" in text
    assert "35.7 checkouts/s" in text
    assert "since the start: timeouts 3, cancelled 3, saturated 3, shed 3" in text
    assert "closed: ping 2" in text
    assert "orders/services/orders.py:17 in find" in text
    assert "and 7 more" in text
    assert "nobody holds" in "\n".join(drawn(state_of(holders=[], held=0), 80))


def test_text_of_the_application_is_not_markup() -> None:
    assert "[red]orders[/red]" in "\n".join(drawn(state_of(name="[red]orders[/red]"), 80))


def test_the_latest_state_stays_while_the_application_is_lost() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=30)
    with Screen(console) as shown:
        shown.show(Lost("Connection refused"))
        shown.show(state_of())
        shown.show(Lost("Connection refused"))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "the application does not answer: Connection refused" in output.replace("\r\n", " ")
    last = output.rpartition("does not answer")[2]
    assert "8 of 10" in last


# ------------------------------------------------------------------------------ command


def test_once_prints_one_state(capsys: pytest.CaptureFixture[str]) -> None:
    with EventServer.answering(stream(event(state_of(1)), event(state_of(2)))) as server:
        assert cli.main(["top", server.url, "--once"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_once_ends_with_2_without_an_application(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["top", f"http://127.0.0.1:{free_port()}", "--once"]) == 2
    error = capsys.readouterr().err
    assert "the application does not answer: Connection refused; next: check the URL" in error


def test_without_rich_there_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delitem(sys.modules, "sqla_typedpool.cli.top_screen")
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert isinstance(top._view(None), Lines)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-u", "-m", "sqla_typedpool", "top", *arguments]


@contextmanager
def monitored(folder: Path, port: int) -> Iterator[None]:
    """Serve a real application under load in a thread inside the block."""
    started, ended = threading.Event(), threading.Event()

    async def main() -> None:
        engine = file_engine(folder, pool_name="orders", pool_size=3)
        allowed = (b"x-token", SECRET.encode())
        authorize = {"authorize": lambda scope: allowed in scope["headers"]}
        async with serving(engine, port=port, **authorize), load(engine, 2):
            started.set()
            while not ended.is_set():
                await asyncio.sleep(0.02)
        await engine.dispose()

    thread = threading.Thread(target=run, args=[main()])
    thread.start()
    try:
        assert started.wait(PATIENCE)
        yield
    finally:
        ended.set()
        thread.join(PATIENCE)


def number_of_lines(output: Path) -> int:
    return output.read_text().count("orders: working")


def has_lines(output: Path, count: int) -> bool:
    return number_of_lines(output) >= count


def test_lines_of_a_real_application_until_ctrl_c_also_after_a_restart(tmp_path: Path) -> None:
    port = free_port()
    output = tmp_path / "output"
    arguments = command(f"http://127.0.0.1:{port}/_pool", "--header", f"X-Token: {SECRET}")
    with output.open("w") as file:
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        assert wait_until(lambda: "Connection refused" in output.read_text(), PATIENCE)
        for _ in range(2):
            before = number_of_lines(output)
            with monitored(tmp_path, port):
                assert wait_until(partial(has_lines, output, before + 2), PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.wait()
    text = output.read_text()
    assert "Traceback" not in text
    assert SECRET not in text


def test_a_terminal_gets_a_screen_which_ctrl_c_removes(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    port = free_port()
    master, slave = pty.openpty()
    arguments = command(f"http://127.0.0.1:{port}/_pool", "--header", f"X-Token: {SECRET}")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "30"}
    with monitored(tmp_path, port):
        process = subprocess.Popen(
            arguments, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)
        shown = b""
        end = time.monotonic() + PATIENCE
        while b"orders" not in shown and time.monotonic() < end:
            shown += os.read(master, 65536)
        process.send_signal(signal.SIGINT)
        try:
            while chunk := os.read(master, 65536):
                shown += chunk
        except OSError:
            pass  # Linux reports the end of a terminal as an error
        assert process.wait(PATIENCE) == 130
    os.close(master)
    assert b"\x1b[?1049h" in shown  # the alternate screen
    assert b"\x1b[?1049l" in shown
    assert b"in use" in shown


def test_a_real_monitor_refuses_a_wrong_header(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    with monitored(tmp_path, port):
        wrong = ["top", f"http://127.0.0.1:{port}/_pool", "--header", "X-Token: wrong-value"]
        assert cli.main(wrong) == 2
    error = capsys.readouterr().err
    assert "refuses access (403); next: check the value of X-Token" in error
    assert "wrong-value" not in error
