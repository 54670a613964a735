"""Ephemeral databases: each source of a schema, and the errors of each source."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import ARRAY, Column, Enum, Integer, MetaData, Table, Text, make_url, text
from sqlalchemy.dialects.postgresql import CITEXT
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool import ephemeral
from sqla_typedpool.embedded import Postgres, binaries
from sqla_typedpool.embedded.process import alive, wait_until
from sqla_typedpool.ephemeral import building, connecting, models, script, server
from sqla_typedpool.errors import CannotRun

ROOT = Path(__file__).parents[2]
pytest.importorskip("asyncpg")

MODELS = """
from sqlalchemy import Integer, MetaData
from sqlalchemy.orm import DeclarativeBase, mapped_column

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "users"
    id = mapped_column(Integer, primary_key=True)

empty = MetaData()
number = 7
"""

INI = """
[alembic]
script_location = migrations
sqlalchemy.url = {url}
"""

REVISION = """
from alembic import op
import sqlalchemy as sa

revision = "1"
down_revision = None

def upgrade():
    op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))
    {more}
"""

SYNC_ENV = """
from alembic import context
from sqlalchemy import engine_from_config
engine = engine_from_config(context.config.get_section("alembic"), prefix="sqlalchemy.")
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

ASYNC_ENV = """
import asyncio
from alembic import context
from sqlalchemy.ext.asyncio import async_engine_from_config

def migrate(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    engine = async_engine_from_config(context.config.get_section("alembic"), prefix="sqlalchemy.")
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()

asyncio.run(main())
"""

VARIABLE_ENV = SYNC_ENV.replace("import engine_from_config", "import create_engine").replace(
    'engine_from_config(context.config.get_section("alembic"), prefix="sqlalchemy.")',
    'create_engine(__import__("os").environ["DATABASE_URL"])',
)


@pytest.fixture
def new_database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database of the session's server."""
    name = f"ephemeral_{next(_numbers)}"
    run(postgres.url(), f"CREATE DATABASE {name}")
    yield postgres.url("asyncpg", name)
    run(postgres.url(), f"DROP DATABASE {name} WITH (FORCE)")


_numbers = count()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of an application with models; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / "ephemeral_models.py").write_text(MODELS)
    yield tmp_path
    for name in ("ephemeral_models", "ephemeral_broken"):
        sys.modules.pop(name, None)


def run(url: str, statement: str) -> list[object]:
    """Run one statement with autocommit, which CREATE DATABASE needs."""

    async def main() -> list[object]:
        engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            result = await connection.execute(text(statement))
            return list(result.scalars()) if result.returns_rows else []

    return asyncio.run(main())


def tables(url: str) -> list[object]:
    found = "SELECT tablename::text FROM pg_tables WHERE schemaname !~ '^(pg_|information)'"
    return sorted(run(url, found), key=str)


def alembic_project(folder: Path, env: str, *, url: str = "", more: str = "") -> Path:
    """Write an alembic.ini and one migration; `url` is the configured sqlalchemy.url."""
    pytest.importorskip("alembic")
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    (folder / "migrations" / "env.py").write_text(env)
    (versions / "1_users.py").write_text(REVISION.format(more=more))
    (folder / "alembic.ini").write_text(INI.format(url=url))
    return folder / "alembic.ini"


# ------------------------------------------------------------- the server and its database


def test_the_database_has_the_schema_and_its_server_is_stopped_at_the_end(
    postgres: Postgres, here: Path
) -> None:
    with ephemeral.database(metadata="ephemeral_models:Base.metadata") as url:
        assert url.startswith("postgresql+asyncpg://")
        assert tables(url) == ["users"]
    with pytest.raises(OSError, match=r".+"):
        run(url, "SELECT 1")


def test_the_newest_server_is_started_and_named(here: Path, postgres: Postgres) -> None:
    newest = binaries.find_bindir(version="newest")
    major = int(re.match(r"\d+", binaries.version_of(newest))[0])  # type: ignore[index]
    for version in (None, major):
        with server.started(metadata="ephemeral_models:Base.metadata", postgres=version) as found:
            assert found.source == binaries.description_of(newest)
            (number,) = run(found.url, "SHOW server_version_num")
        assert int(str(number)) // 10000 == major


def test_a_version_that_is_not_installed_is_refused(here: Path, postgres: Postgres) -> None:
    with pytest.raises(CannotRun, match="could be started: no PostgreSQL 8 found, but"):
        with ephemeral.database(metadata="ephemeral_models:Base.metadata", postgres=8):
            pass


def test_the_server_is_stopped_if_the_schema_cannot_be_built(
    here: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Postgres] = []
    start = Postgres.start
    monkeypatch.setattr(Postgres, "start", lambda **_: started.append(start()) or started[0])
    (here / "schema.sql").write_text("CREATE TABLE t (x nonsense);")
    with pytest.raises(CannotRun, match="nonsense"):
        with ephemeral.database(schema="schema.sql"):
            pytest.fail("not reached")
    assert "stopped" in repr(started[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_is_stopped_by_a_signal(
    here: Path, postgres: Postgres, number: signal.Signals
) -> None:
    program = (
        "import time\n"
        "from sqla_typedpool import ephemeral, embedded\n"
        "start = embedded.Postgres.start\n"
        "def start_and_print(**options):\n"
        "    server = start(**options)\n"
        "    print(server.pid, flush=True)\n"
        "    return server\n"
        "embedded.Postgres.start = start_and_print\n"
        "with ephemeral.database(metadata='ephemeral_models:Base') as url:\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    server = int(child.stdout.readline())
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    child.communicate(timeout=30)
    assert child.returncode != 0
    assert wait_until(lambda: not alive(server), 10)


def test_a_signal_handler_of_the_application_is_kept(here: Path, postgres: Postgres) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with ephemeral.database(metadata="ephemeral_models:Base.metadata"):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_signal_handlers_are_restored_at_the_end(here: Path, postgres: Postgres) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)]
    with ephemeral.database(metadata="ephemeral_models:Base.metadata"):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "none is given"),
        ({"metadata": "a:b", "schema": "s.sql"}, "metadata and schema are given"),
    ],
)
def test_a_number_of_sources_other_than_one_is_an_error(
    given: dict[str, str], message: str
) -> None:
    with pytest.raises(CannotRun, match=message):
        with ephemeral.database(**given):
            pytest.fail("not reached")


def test_without_a_server_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLA_TYPEDPOOL_PG_BINDIR", "/nowhere")
    with pytest.raises(CannotRun, match=r"pip install 'sqla-typedpool\[embedded\]'"):
        with ephemeral.database(schema="schema.sql"):
            pytest.fail("not reached")


def test_without_asyncpg_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "find_spec", lambda name: None)
    with pytest.raises(CannotRun, match=r"pip install 'sqla-typedpool\[asyncpg\]'"):
        ephemeral.build("postgresql+asyncpg://nobody@127.0.0.1:1/x", schema="schema.sql")


def test_a_coroutine_runs_in_another_thread_beside_a_running_loop() -> None:
    async def main() -> tuple[object, str]:
        async def work() -> tuple[object, str]:
            return asyncio.get_running_loop(), threading.current_thread().name

        loop, thread = connecting.run_in_thread(work)
        assert loop is not asyncio.get_running_loop()
        return loop, thread

    _, thread = asyncio.run(main())
    assert thread != threading.current_thread().name


def interrupt_the_process() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_this_thread() -> None:
    """Deliver the signal to the thread of the coroutine, as the kernel may do."""
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


@pytest.mark.parametrize("interrupt", [interrupt_the_process, interrupt_this_thread])
def test_an_interrupt_cancels_the_coroutine_in_the_other_thread(
    interrupt: Callable[[], None],
) -> None:
    cancelled = threading.Event()

    async def work() -> None:
        interrupt()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(KeyboardInterrupt):
        connecting.run_in_thread(work)
    assert cancelled.is_set()


# ---------------------------------------------------------------------------- metadata


def test_the_schemas_enums_and_extensions_of_metadata_are_created(new_database: str) -> None:
    metadata = MetaData()
    mood = Enum("good", "bad", name="mood", schema="types", metadata=metadata)
    Table(
        "people",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("mail", CITEXT),
        Column("moods", ARRAY(mood)),
        schema="app",
    )
    ephemeral.build(new_database, metadata=metadata)
    assert tables(new_database) == ["people"]
    assert run(new_database, "SELECT extname::text FROM pg_extension WHERE extname = 'citext'")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("ephemeral_models", "write it as MODULE:ATTRIBUTE"),
        ("ephemeral_models:Nothing.metadata", "has no attribute 'Nothing'"),
        ("ephemeral_models:empty", "has no tables"),
        ("ephemeral_models:number", "is int, not MetaData"),
        ("ephemeral_nowhere:Base", "No module named 'ephemeral_nowhere'"),
        ("ephemeral_broken:Base", r"ZeroDivisionError: .*ephemeral_broken.py:3"),
    ],
)
def test_an_error_in_the_metadata_is_reported(here: Path, target: str, message: str) -> None:
    (here / "ephemeral_broken.py").write_text("x = 1\n\nx / 0\n")
    with pytest.raises(CannotRun, match=message):
        ephemeral.build("postgresql+asyncpg://nobody@127.0.0.1:1/x", metadata=target)


def test_the_error_of_a_refused_table_shows_its_statement(new_database: str) -> None:
    metadata = MetaData()
    Table("t", metadata, Column("x", Text, server_default=text("no_such_function()")))
    with pytest.raises(CannotRun, match=r"no_such_function\(\) does not exist.*CREATE TABLE t"):
        ephemeral.build(new_database, metadata=metadata)


def test_an_unreachable_server_is_reported() -> None:
    metadata = MetaData()
    Table("t", metadata, Column("x", Text))
    with pytest.raises(CannotRun, match="cannot be created"):
        ephemeral.build("postgresql+asyncpg://nobody@127.0.0.1:1/x", metadata=metadata)


def test_the_error_of_a_build_that_exceeds_its_time_limit_names_the_metadata(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "run_in_thread", partial(connecting.run_in_thread, seconds=0.1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+asyncpg://me@127.0.0.1:{silent.getsockname()[1]}/x"
        message = "the tables of ephemeral_models:Base cannot be created: TimeoutError"
        with pytest.raises(CannotRun, match=message):
            ephemeral.build(url, metadata="ephemeral_models:Base")


# ---------------------------------------------------------------------------- alembic


@pytest.mark.parametrize("env", [SYNC_ENV, ASYNC_ENV, VARIABLE_ENV], ids=["sync", "async", "var"])
@pytest.mark.parametrize("url", ["", "driver://user:pass@localhost/dbname"])
def test_migrations_run_with_each_kind_of_env_py(
    new_database: str, here: Path, env: str, url: str
) -> None:
    pytest.importorskip("psycopg")
    ini = alembic_project(here, env, url=url)
    ephemeral.build(new_database, alembic=ini)
    assert tables(new_database) == ["alembic_version", "users"]


def test_the_driver_that_env_py_expects_is_kept(new_database: str, here: Path) -> None:
    ini = alembic_project(here, ASYNC_ENV, url="postgresql+asyncpg://me@localhost/dev")
    (here / "migrations" / "env.py").write_text(
        "from alembic import context\n"
        "url = context.config.get_main_option('sqlalchemy.url')\n"
        "assert url.startswith('postgresql+asyncpg:'), url\n" + ASYNC_ENV
    )
    ephemeral.build(new_database, alembic=ini)
    assert "users" in tables(new_database)


def test_an_env_py_that_connects_to_another_database_is_stopped_before_it_connects(
    postgres: Postgres, new_database: str, here: Path
) -> None:
    pytest.importorskip("psycopg")
    elsewhere = make_url(postgres.url("psycopg", "development"))
    run(postgres.url(), "CREATE DATABASE development")
    try:
        env = VARIABLE_ENV.replace('__import__("os").environ["DATABASE_URL"]', repr(str(elsewhere)))
        with pytest.raises(CannotRun, match=r"connects to .*/development, not to the temporary"):
            ephemeral.build(new_database, alembic=alembic_project(here, env))
        assert tables(postgres.url("asyncpg", "development")) == []
    finally:
        run(postgres.url(), "DROP DATABASE development WITH (FORCE)")


def test_the_error_of_a_failed_migration_contains_its_last_line(
    new_database: str, here: Path
) -> None:
    pytest.importorskip("psycopg")
    ini = alembic_project(here, SYNC_ENV, more="op.add_column('nothing', sa.Column('x', sa.Text))")
    with pytest.raises(CannotRun, match=r"alembic.ini failed: .*") as caught:
        ephemeral.build(new_database, alembic=ini)
    assert 'relation "nothing" does not exist' in str(caught.value)


def test_the_error_of_a_sync_env_py_with_an_async_driver_names_the_driver_to_install(
    new_database: str, here: Path
) -> None:
    ini = alembic_project(here, SYNC_ENV, url="postgresql+asyncpg://me@localhost/dev")
    with pytest.raises(CannotRun, match=r"pip install 'psycopg\[binary\]'"):
        ephemeral.build(new_database, alembic=ini)


def test_a_missing_alembic_ini_is_reported(here: Path) -> None:
    with pytest.raises(CannotRun, match=r"there is no file alembic\.ini"):
        ephemeral.build("postgresql+asyncpg://nobody@127.0.0.1:1/x", alembic="alembic.ini")


def test_migrations_that_create_nothing_are_an_error(new_database: str, here: Path) -> None:
    ini = alembic_project(here, "pass")
    with pytest.raises(CannotRun, match="still empty"):
        ephemeral.build(new_database, alembic=ini)


# ---------------------------------------------------------------------------- a SQL file


@pytest.fixture(params=["psql", "asyncpg"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The program that runs the file."""
    if request.param == "asyncpg":
        monkeypatch.setattr(script, "_find_psql", lambda: None)
    return str(request.param)


def test_a_sql_file_is_run(new_database: str, tmp_path: Path, client: str) -> None:
    file = tmp_path / "schema.sql"
    file.write_text(
        "\ufeff\\restrict abcDEF123\n"
        "CREATE TABLE users (id int);\n"
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END; $$;\n"
        "CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;\n"
        "COMMENT ON TABLE users IS 'ünï;code';\n"
        "\\unrestrict abcDEF123\n",
        encoding="utf-8",
    )
    ephemeral.build(new_database, schema=file)
    assert tables(new_database) == ["users"]
    comment = run(new_database, "SELECT obj_description('users'::regclass)")
    assert comment == ["ünï;code"]


def test_the_error_of_a_wrong_statement_names_its_line(
    new_database: str, tmp_path: Path, client: str
) -> None:
    file = tmp_path / "schema.sql"
    file.write_text("-- é\nCREATE TABLE a (id int);\nCREATE TABLE b (id no_type);\n")
    with pytest.raises(CannotRun, match=r'schema\.sql:3: type "no_type" does not exist'):
        ephemeral.build(new_database, schema=file)


def test_the_error_of_a_missing_role_names_the_options_of_pg_dump(
    new_database: str, tmp_path: Path, client: str
) -> None:
    file = tmp_path / "schema.sql"
    file.write_text("CREATE TABLE a (id int);\nALTER TABLE a OWNER TO nobody_here;\n")
    with pytest.raises(CannotRun, match=r"--no-owner --no-privileges"):
        ephemeral.build(new_database, schema=file)


def test_a_file_that_connects_to_another_database_is_refused(
    new_database: str, tmp_path: Path, client: str
) -> None:
    file = tmp_path / "schema.sql"
    file.write_text("CREATE DATABASE app;\n\\connect app\nCREATE TABLE a (id int);\n")
    with pytest.raises(CannotRun, match=r"schema\.sql:2: .*connect app.*without --create"):
        ephemeral.build(new_database, schema=file)
    assert run(new_database, "SELECT count(*) FROM pg_database WHERE datname = 'app'") == [0]


def test_psql_runs_a_file_with_data_and_includes(new_database: str, tmp_path: Path) -> None:
    if script._find_psql() is None:
        pytest.skip("no psql")
    (tmp_path / "more.sql").write_text("CREATE TABLE more (id int);\n")
    file = tmp_path / "schema.sql"
    file.write_text("\\i more.sql\nCOPY more (id) FROM stdin;\n7\n\\.\nSELECT 1;\n")
    ephemeral.build(new_database, schema=file)
    assert run(new_database, "SELECT id FROM more") == [7]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("#!/bin/sh\nkill -SEGV $$\n", "psql was ended by signal 11 and printed nothing; next: "),
        ("#!/bin/sh\nexit 3\n", "psql exited with 3 and printed nothing; next: check that"),
        ("#!/nowhere/sh\n", "psql cannot be run: No such file or directory; next: repair"),
    ],
)
def test_a_broken_psql_is_reported(
    new_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str
) -> None:
    psql = tmp_path / "psql"
    psql.write_text(program)
    psql.chmod(0o755)
    monkeypatch.setattr(script, "_find_psql", lambda: str(psql))
    file = tmp_path / "schema.sql"
    file.write_text("CREATE TABLE a (id int);\n")
    with pytest.raises(CannotRun, match=rf"schema\.sql: .*{message}"):
        ephemeral.build(new_database, schema=file)


@pytest.mark.parametrize("line", ["\\i more.sql", "COPY a (id) FROM stdin;", "\\echo hello"])
def test_without_psql_a_line_that_needs_it_is_an_error(
    new_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr(script, "_find_psql", lambda: None)
    file = tmp_path / "schema.sql"
    file.write_text(f"CREATE TABLE a (id int);\n{line}\n1\n\\.\n")
    with pytest.raises(CannotRun, match=r"schema\.sql:2: .* needs psql"):
        ephemeral.build(new_database, schema=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"schema\.sql cannot be read: No such file or directory"),
        (b"SELECT 1;\n-- caf\xe9\n", r"schema\.sql:2: not UTF-8 \(byte 0xe9 at 16\)"),
    ],
)
def test_a_file_that_cannot_be_read_is_reported(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "schema.sql"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CannotRun, match=message):
        ephemeral.build("postgresql+asyncpg://nobody@127.0.0.1:1/x", schema=file)


def test_a_file_that_creates_nothing_is_an_error(
    new_database: str, tmp_path: Path, client: str
) -> None:
    file = tmp_path / "schema.sql"
    file.write_text("-- nothing\n")
    with pytest.raises(CannotRun, match="still empty"):
        ephemeral.build(new_database, schema=file)


def test_the_pg_variables_of_the_user_are_ignored(
    new_database: str, tmp_path: Path, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATABASE", "elsewhere")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=nowhere")
    file = tmp_path / "schema.sql"
    file.write_text("CREATE TABLE a (id int);\n")
    ephemeral.build(new_database, schema=file)
    assert tables(new_database) == ["a"]


def test_no_message_shows_a_password(here: Path, client: str) -> None:
    file = here / "schema.sql"
    file.write_text("SELECT 1;")
    url = "postgresql+asyncpg://nobody:geheim@127.0.0.1:1/x"
    sources: list[Callable[[], None]] = [
        lambda: ephemeral.build(url, schema=file),
        lambda: ephemeral.build(url, metadata="ephemeral_models:Base"),
    ]
    with suppress(ImportError):
        ini = alembic_project(here, SYNC_ENV)
        sources.append(lambda: ephemeral.build(url, alembic=ini))
    for source in sources:
        with pytest.raises(CannotRun) as caught:
            source()
        assert not re.search("geheim", str(caught.value))
