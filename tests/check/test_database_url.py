"""A wrong database URL is an error that says what is wrong, and shows no password."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqla_typedpool.check import database_url as module
from sqla_typedpool.check.database_url import database_url
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import mask_secrets
from tests.support.check_commands import command

WRONG = [
    ("", "is empty; next: set it"),
    (" \n", "is empty; next: set it"),
    ("postgresql://me:s3cret@h/d\n", "it ends with a line break; next: remove that"),
    ("postgresql://me:s3cret@h/d\r", "it ends with a line break"),
    (" postgresql://me:s3cret@h/d", "it begins with a space"),
    ("'postgresql://me:s3cret@h/d'", "it contains the quotes around it; next: remove them"),
    ('"postgresql://me:s3cret@h/d"', "it contains the quotes around it"),
    ("$DATABASE_URL", "it contains a placeholder"),
    ("postgresql://me:${PASSWORD}@h/d", "it contains a placeholder"),
    ("{{ database_url }}", "it contains a placeholder"),
    ("<the URL>", "it contains a placeholder"),
    (
        "jdbc:postgresql://h/d?user=me&password=s3cret",
        "it is a URL for JDBC; next: write it as postgresql+asyncpg://user@host/database",
    ),
    ("jdbc:mysql://h/d?password=s3cret", "next: write it as mysql+aiomysql://"),
    ("me:s3cret@h/d", "it has no scheme; next: write it as postgresql+asyncpg://"),
    ("localhost:5432/app", "it has no scheme"),
    ("data/app.db", "it has no scheme; next: write sqlite:/// before the path"),
    ("host=h dbname=d password=s3cret", "it is a connection string of libpq"),
    ("postgresql:/me:s3cret@h/d", "there is no :// after the scheme"),
    ("postgresql+asyncpg//h/d", "there is no :// after the scheme"),
    ("sqlite:app.db", "there is no :// after the scheme; next: write it as sqlite+aiosqlite://"),
    ("postgresql+://me:s3cret@h/d", "its scheme is not a name"),
    ("postgresql://me:s3cret", "its host and port cannot be read; next: write it as "),
    ("postgresql://me:s3cret@h:x/d", "its host and port cannot be read"),
    ("postgresql://me:s3cret@[::1/d", "its host and port cannot be read"),
    ("postgresql:///me:s3cret@h/d", "there are three slashes before the user; next: remove one"),
    ("postgresql:///d/me:s3cret@h?x=1", "there are three slashes before the user"),
    ("DATABASE_URL=postgresql://me:s3cret@h/d", "it begins with the name of a variable; next: "),
    ("export A=postgresql://me:s3cret@h/d", "it begins with the name of a variable"),
    ("psql://me:s3cret@h/d", "psql is not supported; next: use one of mariadb, mysql, postgres"),
    ("postgresql://me:s3cr@et@h/d", "its user or password contains an @; next: write it as %40"),
    ("postgresql://me:s3cr/a@et@h/d", "its user or password contains an @"),
    ("sqlite://app.db", "there are two slashes before the path; next: write sqlite:///"),
    ("postgressql://me:s3cret@h/d", "postgressql is not supported; did you mean postgresql?"),
    ("PostgreSQL://me:s3cret@h/d", "did you mean postgresql?"),
    ("mssql+pyodbc://me:s3cret@h/d", "mssql is not supported; next: use one of mariadb, mysql"),
    ("http://me:s3cret@h/d", "http is not supported; next: use one of"),
    ("postgresql+asynpg://me:s3cret@h/d", "there is no driver 'asynpg' for postgresql; did you me"),
    ("postgresql+s3://me:s3cret@h/d", "next: use one of asyncpg, psycopg"),
    ("mysql+aiomsql://me:s3cret@h/d", "did you mean aiomysql?"),
    ("sqlite+aiosqllite:///x.db", "did you mean aiosqlite?"),
    ("postgresql://h/d?plugin=typedpol", "there is no plugin typedpol; did you mean plugin=typed"),
    ("postgresql://h/d?plugn=typedpool", "plugn=typedpool is not an option; did you mean plugin="),
    ("postgresql://h/d?pool_min_size=2", "pool_min_size needs the plugin of the pool; next: add"),
]


@pytest.mark.parametrize(("given", "fault"), WRONG)
def test_a_wrong_url_is_an_error_that_says_what_is_wrong(given: str, fault: str) -> None:
    with pytest.raises(CannotRun) as raised:
        database_url(given, "$DATABASE_URL")
    message = str(raised.value)
    assert message.startswith("$DATABASE_URL ")
    assert fault in message
    assert "; next: " in message or message.endswith("?")
    assert "s3cr" not in message
    assert message == mask_secrets(message)  # nothing of the advice is masked


@pytest.mark.parametrize(
    "given",
    [
        "postgresql+psycopg2://me:s3cret@h/d",
        "postgresql+pg8000://h/d",
        "postgresql://me:s3%40cret@h/d",
        "postgresql://me:$s3cret'@h/d",
        "postgresql:///d?host=/var/run/postgresql",
        "postgresql://[::1]:5432/d",
        "postgresql://h/d?plugin=typedpool&pool_min_size=2",
        "postgresql://h/d?plugin=another&pool_min_size=2",
        "postgresql://h/d?application_name=me@home",
        "mysql+pymysql://h/d",
        "sqlite://",
        "sqlite:///folder@home/app.db",
    ],
)
def test_a_right_url_is_accepted(given: str) -> None:
    assert database_url(given).drivername.partition("+")[2] in ("asyncpg", "aiomysql", "aiosqlite")


def test_the_driver_is_that_of_the_name_that_sqlalchemy_has_for_its_async_form() -> None:
    pytest.importorskip("psycopg")
    assert database_url("postgresql+psycopg_async://h/d").drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("given", "extra"),
    [
        ("postgresql://me:s3cret@h/d", "asyncpg"),
        ("postgresql+psycopg://me:s3cret@h/d", "psycopg"),
        ("mysql+asyncmy://me:s3cret@h/d", "asyncmy"),
        ("sqlite:///x.db", "aiosqlite"),
    ],
)
def test_a_missing_driver_names_its_extra(
    given: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(
        CannotRun, match=rf'next: pip install "sqla-typedpool\[{extra}\]"$'
    ) as found:
        database_url(given)
    assert "s3cret" not in str(found.value)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        (
            "?plugin=typedpool&pool_min_sise=2",
            "unknown option pool_min_sise, did you mean pool_min_size?; next: correct the URL",
        ),
        ("?plugin=typedpool&pool_min_size=x", "pool_min_size='x' must be a number; next: correct"),
        ("?plugin=nothing", "Can't load plugin: sqlalchemy.plugins:nothing; next: correct the URL"),
        ("?sslmod=require", "argument 'sslmod'; next: correct the options in the URL"),
    ],
)
def test_a_wrong_option_in_the_url_is_named(query: str, fault: str, tmp_path: Path) -> None:
    url = f"postgresql://me:s3cret@127.0.0.1:1/d{query}"
    answer = command(tmp_path, "describe", "SELECT 1", "--database-url", url)
    assert answer.returncode == 2
    assert fault in answer.stderr
    assert "s3cret" not in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "name"),
    [
        (["--database-url", "me:s3cret@h"], {}, "--database-url"),
        (["--env-file", "app.env"], {}, "DATABASE_URL in app.env"),
        ([], {"DATABASE_URL": "me:s3cret@h"}, "$DATABASE_URL"),
        ([], {"DATABASE_URL": ""}, "$DATABASE_URL"),
    ],
)
def test_the_error_names_where_the_url_was_given(
    arguments: list[str], variables: dict[str, str], name: str, tmp_path: Path
) -> None:
    (tmp_path / "app.env").write_text("DATABASE_URL='me:s3cret@h'\n")
    answer = command(tmp_path, "describe", "SELECT 1", *arguments, **variables)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"sqla-typedpool: {name} is ")
    assert answer.stderr.count("\n") == 1
    assert "s3cret" not in answer.stderr
