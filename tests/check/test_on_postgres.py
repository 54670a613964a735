"""The commands as a user runs them, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from sqla_typedpool.check import snapshots as check_snapshots
from sqla_typedpool.check.snapshot_format import document_text
from sqla_typedpool.describe.model import Description
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.embedded.binaries import find_bindir
from tests.support.check_commands import Answer, command
from tests.support.commands import run_module

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, nick text);
CREATE TABLE posts (
    id bigint PRIMARY KEY, author bigint NOT NULL REFERENCES users, title text NOT NULL
);
CREATE ROLE shop_reader LOGIN;
CREATE ROLE shop_stranger LOGIN;
GRANT SELECT ON users, posts TO shop_reader;
REVOKE TEMPORARY ON DATABASE shop FROM PUBLIC;
CREATE SCHEMA hidden;
CREATE TABLE hidden.secrets (id bigint);
"""

APP = """from dataclasses import dataclass

from sqla_typedpool import Executor, RowCount, query


@dataclass
class User:
    id: int
    name: str
    nick: str | None


@query("SELECT id, name, nick FROM users WHERE id = :user_id")
async def get_user(db: Executor, *, user_id: int) -> User | None:
    raise NotImplementedError


@query("DELETE FROM users WHERE id = :user_id")
async def remove_user(db: Executor, *, user_id: int) -> RowCount:
    raise NotImplementedError
"""

BAD = """

@query("{sql}")
async def bad(db: Executor) -> list[tuple[str]]:
    raise NotImplementedError
"""


@pytest.fixture(scope="module")
def shop(postgres: Postgres) -> Iterator[str]:
    """The URL of a database with a schema."""

    async def run(database: str, *statements: str) -> None:
        url = postgres.url("asyncpg").replace("+asyncpg", "").rpartition("/")[0]
        connection = await asyncpg.connect(f"{url}/{database}")
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def main() -> None:
        await run("postgres", "DROP DATABASE IF EXISTS shop", "CREATE DATABASE shop")
        await run("shop", SCHEMA)

    asyncio.run(main())
    yield postgres.url("asyncpg").rpartition("/")[0] + "/shop"
    asyncio.run(
        run(
            "postgres",
            "DROP DATABASE shop WITH (FORCE)",
            "DROP ROLE shop_reader",
            "DROP ROLE shop_stranger",
        )
    )


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder with an application of two queries."""
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def check(folder: Path, url: str, *arguments: str) -> Answer:
    return command(folder, "check", "app", "--database-url", url, *arguments)


def as_role(url: str, role: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}:s3cret@{rest.partition('@')[2]}"


def test_a_correct_application_has_no_findings(app: Path, shop: str) -> None:
    answer = check(app, shop)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.startswith("2 queries checked, no findings (PostgreSQL ")


def test_the_command_is_a_program(app: Path, shop: str) -> None:
    answer = run_module(app, "sqla_typedpool", "check", "app", DATABASE_URL=shop)
    assert answer.returncode == 0, answer.stderr
    (app / "app.py").write_text(APP + BAD.format(sql="SELECT nick FROM users"))
    answer = run_module(app, "sqla_typedpool", "check", "app", DATABASE_URL=shop)
    assert answer.returncode == 1
    assert answer.stderr == ""
    assert "error[TP101]" in answer.stdout


def test_the_environment_names_the_database(app: Path, shop: str) -> None:
    answer = command(app, "check", "app", DATABASE_URL=shop)
    assert answer.returncode == 0, answer.stderr


def test_an_env_file_is_read_only_when_it_is_named(app: Path, shop: str) -> None:
    (app / ".env").write_text(f'DATABASE_URL="{shop}"\n')
    unasked = command(app, "check", "app")
    assert unasked.returncode == 2
    assert "there is no database, and there are no snapshots" in unasked.stderr
    assert command(app, "check", "app", "--env-file", ".env").returncode == 0


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELEC name FROM users", 'syntax error at or near "SELEC"'),
        ("SELECT name FROM user_s", 'relation "user_s" does not exist'),
        ("SELECT nam FROM users", 'column "nam" does not exist'),
        ("SELECT name FROM users WHERE id = 'x'", "invalid input syntax"),
    ],
)
def test_a_refused_statement_is_one_finding_with_its_location(
    app: Path, shop: str, sql: str, expected: str
) -> None:
    (app / "app.py").write_text(APP + BAD.format(sql=sql))
    answer = check(app, shop)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert answer.stdout.count("TP301] ") == 1
    assert expected in answer.stdout
    assert "app.py:23:" in answer.stdout
    assert "^" in answer.stdout


def test_an_overlooked_null_is_an_error_with_its_reason(app: Path, shop: str) -> None:
    sql = "SELECT p.title FROM users u LEFT JOIN posts p ON p.author = u.id"
    (app / "app.py").write_text(APP + BAD.format(sql=sql))
    report = json.loads(check(app, shop, "--format", "json").stdout)
    (finding,) = report["findings"]
    assert finding["code"] == "TP101"
    assert finding["line"] == 23
    assert "p" in finding["reason"]
    assert report["clean"] is False


def test_output_of_modules_is_not_in_the_json(app: Path, shop: str) -> None:
    (app / "app.py").write_text("print('hello')\n" + APP)
    assert json.loads(check(app, shop, "--format", "json").stdout)["clean"] is True


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:s3cret@127.0.0.1:1/shop", "cannot be used"),
        ("postgresql://me:s3cret@no-such-host.invalid/shop", "cannot be used"),
        ("{server}/no_such_database", "does not exist"),
        ("oracle://me:s3cret@h/d", "is not supported"),
        ("nonsense", "it has no scheme; next: write it as postgresql+asyncpg://user@host/database"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_error_message(
    app: Path, shop: str, url: str, expected: str
) -> None:
    answer = check(app, url.format(server=shop.rpartition("/")[0]))
    assert answer.returncode == 2
    assert expected in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert "s3cret" not in answer.stderr


def test_an_unknown_role_is_one_error_message_without_its_password(app: Path, shop: str) -> None:
    answer = check(app, as_role(shop, "nobody_of_that_name"))
    assert answer.returncode == 2
    assert "nobody_of_that_name" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert "s3cret" not in answer.stderr


@pytest.mark.parametrize(
    ("sql", "right"),
    [("SELECT name FROM users", "SELECT"), ("DELETE FROM posts RETURNING title", "DELETE")],
)
def test_a_missing_privilege_for_a_statement_is_a_finding(
    app: Path, shop: str, sql: str, right: str
) -> None:
    (app / "app.py").write_text(APP.partition("@query")[0] + BAD.format(sql=sql))
    grant = "GRANT TEMPORARY ON DATABASE shop TO shop_stranger"
    asyncio.run(_settings(shop, grant))
    try:
        answer = check(app, as_role(shop, "shop_stranger"))
    finally:
        asyncio.run(_settings(shop, grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ")))
    assert answer.returncode == 1
    assert f"shop_stranger has no right to {right}" in answer.stdout
    assert f"next: GRANT {right} ON public." in answer.stdout


def test_a_type_that_the_driver_cannot_read_is_a_finding_of_one_query(app: Path, shop: str) -> None:
    asyncio.run(_settings(shop, "CREATE TABLE words (id bigint NOT NULL, found tsvector)"))
    (app / "app.py").write_text(APP + BAD.format(sql="SELECT words FROM words"))
    answer = check(app, shop)
    assert answer.returncode == 1
    assert "asyncpg cannot read it" in answer.stdout
    assert "1 error in 3 queries" in answer.stdout


@pytest.mark.parametrize("given", ["--database-url", "DATABASE_URL"])
def test_an_empty_url_is_an_error(app: Path, shop: str, given: str) -> None:
    prepare(app, shop)
    arguments, environment = (["--database-url", ""], {}) if given[0] == "-" else ([], {given: ""})
    answer = command(app, "check", "app", *arguments, **environment)
    assert answer.returncode == 2
    assert given in answer.stderr
    assert "empty; next:" in answer.stderr


def test_a_full_disk_is_one_error_message(app: Path, shop: str) -> None:
    prepare(app, shop)
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "sqla_typedpool", "check", "app", "--offline"],
            cwd=app,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert ended.returncode == 2
    assert "No space left on device; next: check the disk" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_missing_privilege_for_a_schema_is_a_finding(app: Path, shop: str) -> None:
    (app / "app.py").write_text(APP + BAD.format(sql="SELECT id::text FROM hidden.secrets"))
    answer = check(app, as_role(shop, "shop_stranger"))
    assert answer.returncode == 1
    assert "permission denied for schema hidden" in answer.stdout


@pytest.mark.parametrize("kind", ["no temporary functions", "read-only"])
def test_unknown_nullability_is_reported_and_counts_as_nullable(
    app: Path, shop: str, kind: str
) -> None:
    url = as_role(shop, "shop_reader")
    if kind == "read-only":
        url = shop
        asyncio.run(_settings(shop, "ALTER DATABASE shop SET default_transaction_read_only = on"))
    try:
        answer = check(app, url)
    finally:
        if kind == "read-only":
            asyncio.run(_settings(shop, "ALTER DATABASE shop RESET default_transaction_read_only"))
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "TP304" in answer.stdout
    assert "TP101" in answer.stdout


async def _settings(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute(statement)
    await connection.close()


def test_a_module_that_cannot_be_imported_is_an_error_message(app: Path, shop: str) -> None:
    (app / "app.py").write_text(APP + "\nimport nothing_of_that_name\n")
    answer = check(app, shop)
    assert answer.returncode == 2
    assert "nothing_of_that_name" in answer.stderr
    assert "app.py:22" in answer.stderr


def test_an_sql_file_that_is_not_utf_8_is_named(app: Path, shop: str) -> None:
    (app / "bad.sql").write_bytes(b"SELECT 'caf\xe9' AS name")
    source = APP + BAD.format(sql="x").replace('"x"', 'path="bad.sql"')
    (app / "app.py").write_text(source)
    answer = check(app, shop)
    assert answer.returncode == 1
    assert "error[TP303] bad.sql is not UTF-8" in answer.stdout


# ----------------------------------------------------------------------- snapshots


def snapshots(folder: Path) -> dict[str, str]:
    found = sorted((folder / ".sqla_typedpool").rglob("*.json"))
    return {path.name: path.read_text() for path in found}


def prepare(folder: Path, url: str, *arguments: str) -> Answer:
    return command(folder, "prepare", "app", "--database-url", url, *arguments)


def test_prepare_writes_snapshots_that_check_reads(app: Path, shop: str) -> None:
    answer = prepare(app, shop)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("2 snapshots in .sqla_typedpool: 2 written, 0 removed")
    assert len(snapshots(app)) == 2
    offline = command(app, "check", "app")
    assert offline.returncode == 0, offline.stdout
    assert "snapshots in .sqla_typedpool" in offline.stdout
    again = prepare(app, shop)
    assert "0 written, 0 removed" in again.stdout


def test_prepare_removes_unused_snapshots(app: Path, shop: str) -> None:
    prepare(app, shop)
    (app / "app.py").write_text(APP.partition('@query("DELETE')[0])
    assert "TP404" in prepare(app, shop, "--check").stdout
    assert "0 written, 1 removed" in prepare(app, shop).stdout
    assert len(snapshots(app)) == 1


def test_prepare_check_fails_after_a_change_of_the_schema(app: Path, shop: str) -> None:
    prepare(app, shop)
    assert prepare(app, shop, "--check").returncode == 0
    before = snapshots(app)
    asyncio.run(_settings(shop, "ALTER TABLE users ALTER nick SET NOT NULL"))
    try:
        answer = prepare(app, shop, "--check")
    finally:
        asyncio.run(_settings(shop, "ALTER TABLE users ALTER nick DROP NOT NULL"))
    assert answer.returncode == 1
    assert "TP402" in answer.stdout
    assert snapshots(app) == before


def test_a_reworded_reason_makes_no_snapshot_stale(
    app: Path, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reworded(query: str, never_null: tuple[str, ...], description: Description) -> str:
        columns = tuple(replace(each, why="an old reason") for each in description.columns)
        old = replace(description, columns=columns, notes=("an old note",))
        return document_text(query, never_null, old)

    with monkeypatch.context() as patch:
        patch.setattr(check_snapshots, "document_text", reworded)
        prepare(app, shop)
    assert "an old reason" in "".join(snapshots(app).values())
    answer = prepare(app, shop, "--check")
    assert answer.returncode == 0, answer.stdout
    assert "2 written" in prepare(app, shop).stdout
    assert "an old reason" not in "".join(snapshots(app).values())


def test_prepare_check_reports_a_damaged_snapshot(app: Path, shop: str) -> None:
    prepare(app, shop)
    (path,) = (app / ".sqla_typedpool").rglob("*get_user*.json")
    path.write_text(path.read_text().replace('"nullable": false', '"nullable": true'))
    answer = prepare(app, shop, "--check")
    assert answer.returncode == 1
    assert f"error[TP403] {path.name} is damaged: it was edited or merged" in answer.stdout


def test_the_snapshot_of_a_refused_or_faulty_query_is_not_called_unused(
    app: Path, shop: str
) -> None:
    (app / "app.py").write_text(APP + BAD.format(sql="SELECT title FROM extra"))
    asyncio.run(_settings(shop, "CREATE TABLE extra (title text)"))
    prepare(app, shop)
    asyncio.run(_settings(shop, "DROP TABLE extra"))
    answer = prepare(app, shop, "--check")
    assert "TP301" in answer.stdout
    assert "TP404" not in answer.stdout
    (app / "app.py").write_text(APP + BAD.format(sql="SELECT :x"))
    answer = prepare(app, shop, "--check")
    assert "TP303" in answer.stdout
    assert "TP404" not in answer.stdout
    before = snapshots(app)
    answer = prepare(app, shop)
    assert answer.returncode == 1
    assert "no snapshots were written" in answer.stderr
    assert snapshots(app) == before


def test_nothing_is_written_when_a_statement_is_refused(app: Path, shop: str) -> None:
    prepare(app, shop)
    before = snapshots(app)
    (app / "app.py").write_text(APP + BAD.format(sql="SELECT nam FROM users"))
    answer = prepare(app, shop)
    assert answer.returncode == 1
    assert "no snapshots were written" in answer.stderr
    assert snapshots(app) == before


def test_a_changed_query_has_no_snapshot_and_a_truncated_file_is_damaged(
    app: Path, shop: str
) -> None:
    prepare(app, shop)
    for path in (app / ".sqla_typedpool").rglob("*get_user*.json"):
        path.write_text(path.read_text()[:100])
    (app / "app.py").write_text(APP.replace("DELETE FROM users", "DELETE FROM posts"))
    answer = command(app, "check", "app")
    assert answer.returncode == 1
    assert "TP401" in answer.stdout
    assert "TP403" in answer.stdout


def test_snapshots_contain_no_password_host_or_oid(app: Path, shop: str) -> None:
    prepare(app, as_role(shop, "shop_reader"))
    text = "".join(snapshots(app).values())
    assert "s3cret" not in text
    assert "127.0.0.1" not in text
    assert '"oid"' not in text


# ------------------------------------------------------------------------ describe


def test_describe_shows_a_table(app: Path, shop: str) -> None:
    sql = (
        "SELECT u.name, p.title FROM users u LEFT JOIN posts p ON p.author = u.id WHERE u.id = :id"
    )
    answer = command(app, "describe", sql, "--database-url", shop)
    assert answer.returncode == 0, answer.stderr
    head, _, name, title = answer.stdout.split("\n\n")[1].splitlines()
    assert head.split() == ["column", "type", "python", "nullable", "why", "origin"]
    assert name.split()[:4] == ["name", "text", "str", "no"]
    assert title.split()[:6] == ["title", "text", "str", "|", "None", "yes"]
    assert "public.users.name" in name


def test_describe_reads_standard_input_and_files(app: Path, shop: str) -> None:
    (app / "one.sql").write_text("SELECT name FROM users")
    arguments = ("describe", "--file", "one.sql", "--format", "json", "--database-url", shop)
    (column,) = json.loads(command(app, *arguments).stdout)["columns"]
    assert column["origin"] == "public.users.name"
    assert column["nullable"] is False


@pytest.mark.parametrize("sql", ["", "  ", "-- nothing"])
def test_describe_without_a_statement_is_an_error_message(app: Path, sql: str) -> None:
    answer = command(app, "describe", sql, "--database-url", "postgresql://h/d")
    assert answer.returncode == 2
    assert "only spaces and comments" in answer.stderr


def test_describe_of_a_file_that_is_not_utf_8_is_an_error_message(app: Path) -> None:
    (app / "bad.sql").write_bytes(b"SELECT 'caf\xe9'")
    answer = command(app, "describe", "--file", "bad.sql", "--database-url", "postgresql://h/d")
    assert answer.returncode == 2
    assert "bad.sql cannot be read as UTF-8 text" in answer.stderr


def test_describe_of_a_wrong_statement_is_an_error_message(app: Path, shop: str) -> None:
    answer = command(app, "describe", "SELECT nam FROM users", "--database-url", shop)
    assert answer.returncode == 2
    assert 'column "nam" does not exist' in answer.stderr
    assert answer.stderr.endswith("\n\n  SELECT nam FROM users\n         ^^^\n")


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT :x::int", "next: write CAST(:x AS ...), or add a space: :x ::"),
        ("SELECT 1 + :a, :b IS NULL", "next: add a cast: CAST(:b AS ...)"),
        ("SELECT cardinality(:ids)", "next: add a cast: CAST(:name AS ...)"),
    ],
)
def test_describe_has_the_hints_of_check(app: Path, shop: str, sql: str, hint: str) -> None:
    answer = command(app, "describe", sql, "--database-url", shop)
    assert answer.returncode == 2
    assert hint in answer.stderr


# ------------------------------------------------------------------ nothing is left


def test_the_database_is_not_changed(app: Path, shop: str) -> None:
    pg_dump = find_bindir() / "pg_dump"  # the server's own: an older one refuses
    if not pg_dump.exists():
        pytest.skip("there is no pg_dump")

    def dump() -> str:
        url = shop.replace("+asyncpg", "")
        environment = {**os.environ, "PGCONNECT_TIMEOUT": "10"}
        done = subprocess.run(
            [pg_dump, url], capture_output=True, text=True, check=True, env=environment
        )
        return "\n".join(line for line in done.stdout.splitlines() if "restrict" not in line)

    async def catalogue() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(shop.replace("+asyncpg", ""))
        counts = [
            tuple(await connection.fetchrow(f"SELECT '{name}', count(*) FROM {name}"))
            for name in ("pg_proc", "pg_class", "pg_namespace", "pg_depend", "pg_type")
        ]
        await connection.close()
        return counts

    writing = "WITH gone AS (DELETE FROM users RETURNING name) SELECT name FROM gone"
    (app / "app.py").write_text(APP + BAD.format(sql=writing))
    before = dump(), asyncio.run(catalogue())
    assert check(app, shop).returncode == 0
    assert prepare(app, shop).returncode == 0
    for sql in ("DROP TABLE users", "TRUNCATE users", "COMMIT", "DELETE FROM users RETURNING id"):
        assert command(app, "describe", sql, "--database-url", shop).returncode == 0
    several = command(app, "describe", "SELECT 1; END; DROP TABLE users", "--database-url", shop)
    assert "multiple commands" in several.stderr
    (app / "app.py").write_text(APP + BAD.format(sql="SELECT nam FROM users"))
    assert check(app, shop).returncode == 1
    assert (dump(), asyncio.run(catalogue())) == before
