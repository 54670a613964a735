"""`check --watch`: the loop with scripted checks and changes, and the command in its processes."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from sqla_typedpool import cli
from sqla_typedpool.check import changes
from sqla_typedpool.check.changes import States
from sqla_typedpool.check.report_formats import FORMATS
from sqla_typedpool.cli import watch
from sqla_typedpool.cli.child import Checked
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.embedded.process import alive, children_of, wait_until
from tests.support.commands import ROOT
from tests.support.watched import save, watching

# ----------------------------------------------------------------------- the loop, scripted


class Script:
    """Checks and states that follow each other; the end is a Ctrl-C."""

    def __init__(self, checks: Sequence[Checked], *states: States) -> None:
        self.checks = list(checks)
        self._states = list(states)
        self.number = 0
        self.shown: list[object] = []

    def check(self) -> Checked:
        self.number += 1
        return self.checks.pop(0)

    def states(self, paths: Iterable[str]) -> States:
        if not self._states:
            raise KeyboardInterrupt
        found = self._states.pop(0)
        assert set(found) == set(paths)
        return found

    def wait(self, seconds: float) -> None:
        """Go on at once."""

    def ended(self, checked: Checked, seconds: float) -> None:
        self.shown.append(checked.result)

    def changed(self, paths: Sequence[str]) -> None:
        self.shown.append(list(paths))

    def run(self) -> list[object]:
        with pytest.raises(KeyboardInterrupt):
            watch.check_repeatedly(self.check, self, self)
        return self.shown


A1: States = {"a.py": (1, 1)}
A2: States = {"a.py": (2, 1)}
AB: States = {"a.py": (2, 1), "b.py": (1, 1)}


def test_a_check_runs_at_once_and_after_each_change() -> None:
    script = Script([Checked("0", A1), Checked("1", A2)], A1, A1, A2, A2, A2)
    assert script.run() == ["0", ["a.py"], "1"]


def test_the_files_of_the_last_check_are_watched() -> None:
    script = Script([Checked("0", A1), Checked("1", AB)], A2, A2, AB, AB)
    assert script.run() == ["0", ["a.py"], "1"]


def test_a_change_during_a_check_causes_another_one() -> None:
    # the second check had read the old state of a.py before it changed
    script = Script([Checked("0", A1), Checked("0", A1), Checked("1", A2)], A2, A2, A2, A2)
    assert script.run() == ["0", ["a.py"], "0", ["a.py"], "1"]


# -------------------------------------------------------------------------- what it prints


def test_the_time_the_result_and_the_changes_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = watch.Status()
    status.ended(Checked("exit code 1", AB), 0.126)
    status.changed([str(Path.cwd() / "app" / name) for name in ("a.py", "b.py", "c.sql", "d.py")])
    out, err = capsys.readouterr()
    assert out == ""
    ended, changed = err.splitlines()
    assert ended[2::3][:2] == "::"
    assert ended[9:] == "exit code 1 after 0.13 s; watching 2 files and folders"
    assert changed[9:] == "changed: app/a.py, app/b.py, app/c.sql and 1 more"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_screen_is_cleared_only_on_a_terminal(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    watch.Status().changed(["a.py"])
    assert ("\x1b[2J" in capsys.readouterr().out) is is_terminal


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"text", "concise"}))
def test_watching_refuses_formats_for_programs(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", "app", "--watch", "--format", name]) == 2
    assert f"--format {name} is for programs; next: use --format text or concise" in (
        capsys.readouterr().err
    )


# -------------------------------------------------------------------------- a check in a child

CHILD = """
import os, sys, time
from sqla_typedpool.cli import child
from sqla_typedpool.errors import CannotRun

def prints(arguments):
    print("checked", arguments, "msgspec" in sys.modules)
    import msgspec
    open("read.sql").close()
    return 1

def cannot_run(arguments):
    raise CannotRun("there is nothing to check")

def raises(arguments):
    raise ValueError("postgresql://me:s3cret@host/d")

def crashes(arguments):
    open("read.sql").close()
    os._exit(11)

def hangs(arguments):
    open("read.sql").close()
    time.sleep(600)

def forks(arguments):
    if not os.fork():
        open("program.py").close()
        os._exit(0)
    os.wait()
    open("read.sql").close()
    return 0

def leaves_a_thread(arguments):
    import threading
    threading.Thread(target=time.sleep, args=(600,)).start()
    return 0

if __name__ == "__main__":
    child.START_METHOD = sys.argv[1]
    child._UNDISTURBED_SECONDS = 0.5
    print("buffered")
    for name in sys.argv[2:]:
        found = child.check_in_child(globals()[name], [1, 2], lambda paths: dict.fromkeys(paths))
        child.import_libraries(found.libraries)
        read = [path for path in found.states if path.endswith("read.sql")]
        print(found.result, len(read), file=sys.stderr)
"""


def in_child(folder: Path, *names: str, method: str = "fork") -> tuple[list[str], list[str]]:
    """Run checks in children of a program, and return its lines on both streams."""
    (folder / "program.py").write_text(CHILD)
    (folder / "read.sql").touch()
    ended = subprocess.run(
        [sys.executable, "program.py", method, *names],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines(), ended.stderr.splitlines()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_check_in_a_child_reports_its_code_and_what_it_read(tmp_path: Path, method: str) -> None:
    out, err = in_child(tmp_path, "prints", method=method)
    assert out == ["buffered", "checked [1, 2] False"]
    assert err == ["exit code 1 1"]


def test_the_second_check_finds_the_libraries_of_the_first_one_imported(tmp_path: Path) -> None:
    out, _ = in_child(tmp_path, "prints", "prints")
    assert out[1:] == ["checked [1, 2] False", "checked [1, 2] True"]


def test_a_check_that_cannot_run_has_exit_code_2(tmp_path: Path) -> None:
    _, err = in_child(tmp_path, "cannot_run")
    assert err == ["sqla-typedpool: there is nothing to check", "exit code 2 0"]


def test_an_unexpected_error_is_shown_without_passwords_and_has_a_result(tmp_path: Path) -> None:
    _, err = in_child(tmp_path, "raises")
    assert err[-2:] == ["ValueError: postgresql://me:***@host/d", "exit code 1 0"]
    assert "s3cret" not in "".join(err)


def test_a_crashed_process_has_a_record_of_what_it_read(tmp_path: Path) -> None:
    _, err = in_child(tmp_path, "crashes", "prints")
    assert err == ["the check crashed 1", "exit code 1 1"]


def test_a_check_that_hangs_is_ended_when_what_it_read_has_changed(tmp_path: Path) -> None:
    _, err = in_child(tmp_path, "hangs", "prints")
    assert err == ["a file has changed, and the check was ended 1", "exit code 1 1"]


def test_what_a_fork_of_the_check_reads_is_not_confused_with_its_own(tmp_path: Path) -> None:
    _, err = in_child(tmp_path, "forks")
    assert err == ["exit code 0 1"]


def test_a_thread_of_the_application_does_not_delay_the_next_check(tmp_path: Path) -> None:
    began = time.monotonic()
    _, err = in_child(tmp_path, "leaves_a_thread", "leaves_a_thread")
    assert err == ["exit code 0 0", "exit code 0 0"]
    assert time.monotonic() - began < 30


# -------------------------------------------------------------------- the command, end to end

ENV = """
from alembic import context
from sqlalchemy import engine_from_config

engine = engine_from_config(context.config.get_section("alembic"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
MIGRATION = """
from alembic import op

revision, down_revision = {!r}, {!r}


def upgrade():
    op.execute({!r})
"""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A copy of the example, whose snapshots fit its queries."""
    copied = tmp_path / "bookshop"
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache", "tests")
    shutil.copytree(ROOT / "examples" / "bookshop", copied, ignore=ignored)
    return copied


def replace(file: Path, old: str, new: str) -> None:
    source = file.read_text()
    assert old in source
    save(file, source.replace(old, new))


def test_a_fault_is_reported_and_gone_again_when_the_file_is_saved(shop: Path) -> None:
    catalogue = shop / "bookshop" / "catalogue.py"
    with watching(shop, "--format", "concise") as command:
        assert command.next_code() == 0
        replace(catalogue, "author_id", "author_nr")
        assert command.next_code() == 1
        replace(catalogue, "author_nr", "author_id")
        assert command.next_code() == 0
        save(catalogue, catalogue.read_text() + "def broken(:\n")
        assert command.next_code() == 2
        replace(catalogue, "def broken(:\n", "")
        assert command.next_code() == 0
        assert command.end(signal.SIGINT) == 130
        assert not command.has_processes
    err = "".join(command.err)
    assert "SyntaxError: invalid syntax" in err
    assert err.count("changed: bookshop/catalogue.py") == 4
    assert "Traceback" not in err
    assert err.endswith("sqla-typedpool: Interrupted; nothing was left running.\n")
    assert all(": TP" in line for line in command.out)


def test_files_of_each_kind_are_watched(shop: Path) -> None:
    snapshots = shop / ".sqla_typedpool"
    with watching(shop) as command:
        assert command.next_code() == 0
        (sql,) = (shop / "bookshop" / "sql").glob("*.sql")
        text = sql.read_text()
        save(sql, f"{text}-- another statement\n")
        assert command.next_code() == 1
        save(sql, text)
        assert command.next_code() == 0
        snapshots.rename(shop / "elsewhere")
        assert command.next_code() == 2
        (shop / "elsewhere").rename(snapshots)
        assert command.next_code() == 0
        replace(shop / "pyproject.toml", "[tool.sqla_typedpool]", "[tool.sqla_typedpool]\nx = 1")
        assert command.next_code() == 2
        replace(shop / "pyproject.toml", "x = 1", "")
        assert command.next_code() == 0
        save(shop / "bookshop" / "new.py", "raise ValueError('a new module')")
        assert command.next_code() == 2
        assert command.end(signal.SIGTERM) == 143
        assert not command.has_processes
    assert "ValueError: a new module" in "".join(command.err)


def await_file(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whole_group", [True, False])
def test_a_signal_during_a_check_ends_its_process_too(
    tmp_path: Path, number: signal.Signals, whole_group: bool
) -> None:
    started = tmp_path / "started"
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(600)\n"
    )
    with watching(tmp_path, "slow", "--offline") as command:
        await_file(started)
        assert command.end(number, whole_group=whole_group) == 128 + number
        assert not command.has_processes
    assert "Traceback" not in "".join(command.err)


def test_a_module_that_hangs_is_imported_again_when_it_is_saved(tmp_path: Path) -> None:
    module = tmp_path / "hangs.py"
    module.write_text("import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(600)\n")
    with watching(tmp_path, "hangs", "--offline") as command:
        await_file(tmp_path / "started")
        save(module, "raise ValueError('a correction')")
        assert command.next_code() == 2
        save(module, "import os\nos._exit(9)")
        command.next_line("the check crashed")
        save(module, "raise ValueError('another one')")
        assert command.next_code() == 2
        command.end(signal.SIGINT)
    assert "a file has changed, and the check was ended after" in "".join(command.err)


@pytest.mark.skipif(not hasattr(select, "poll"), reason="cannot ask whether a pipe is closed")
@pytest.mark.parametrize("is_hanging", [True, False])
def test_it_ends_when_the_reader_of_its_output_ends(tmp_path: Path, is_hanging: bool) -> None:
    """A report without findings in the format ``concise`` writes nothing to the pipe."""
    (tmp_path / "app.py").write_text("import time\ntime.sleep(600)" if is_hanging else "1 / 0")
    command = [sys.executable, "-m", "sqla_typedpool", "check", "app", "--watch", "--offline"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        (tmp_path / "err").open("w+") as err,
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=err
        ) as process,
    ):
        try:
            assert process.stdout is not None
            process.stdout.close()
            assert process.wait(60) == 2
        finally:
            process.kill()
        err.seek(0)
        assert "Traceback" not in err.read()


def processor_time_of_children(pid: int) -> float:
    """Return the processor time in seconds of the ended children of a process."""
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_check_again_needs_less_than_0_3_seconds_from_the_change_to_the_report(
    shop: Path,
) -> None:
    """The waits between a change and its check, and the processor time of the check.

    A new interpreter needs 0.4 s to import SQLAlchemy.
    """
    catalogue, count = shop / "bookshop" / "catalogue.py", 8
    with watching(shop) as command:
        command.next_code()
        before = processor_time_of_children(command.process.pid)
        for number in range(count):
            save(catalogue, catalogue.read_text() + f"# {number}\n")
            assert command.next_code() == 0
        end = time.monotonic() + 10
        while processor_time_of_children(command.process.pid) == before:
            assert time.monotonic() < end
        seconds = processor_time_of_children(command.process.pid) - before
        command.end(signal.SIGINT)
    assert changes.POLL_SECONDS + changes.QUIET_SECONDS + seconds / count < 0.3


def test_a_change_of_the_schema_is_built_on_the_server_of_the_first_check(
    shop: Path, postgres: Postgres
) -> None:
    tables = shop / "bookshop" / "schema.py"
    with watching(shop, "--ephemeral", "--format", "concise") as command:
        assert command.next_code() == 0
        servers = children_of(command.process.pid)
        replace(tables, 'Column("title", Text, nullable=False)', 'Column("title", Text)')
        assert command.next_code() == 1
        assert children_of(command.process.pid) == servers
        replace(tables, 'Column("title", Text)', 'Column("title", Text, nullable=False)')
        assert command.next_code() == 0
        assert command.end(signal.SIGTERM, whole_group=False) == 143
        assert len(servers) == 1
        assert wait_until(lambda: not alive(servers[0]), 10)
    assert any("TP101 error" in line for line in command.out)


def test_new_and_changed_migrations_are_built(tmp_path: Path, postgres: Postgres) -> None:
    pytest.importorskip("alembic")
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "migrations" / "env.py").write_text(ENV)
    first, second = versions / "first.py", versions / "second.py"
    first.write_text(MIGRATION.format("first", None, "CREATE TABLE users (nick text)"))
    (tmp_path / "app.py").write_text(
        "from sqla_typedpool import Executor, query\n\n\n"
        '@query("SELECT nick FROM users")\n'
        "async def nicks(db: Executor) -> list[str]:\n"
        "    raise NotImplementedError\n"
    )
    with watching(tmp_path, "app", "--ephemeral", "--alembic", "alembic.ini") as command:
        assert command.next_code() == 1
        replace(first, "nick text", "nick text NOT NULL")
        assert command.next_code() == 0
        change = "ALTER TABLE users ALTER nick DROP NOT NULL"
        save(second, MIGRATION.format("second", "first", change))
        assert command.next_code() == 1
        command.end(signal.SIGINT)
