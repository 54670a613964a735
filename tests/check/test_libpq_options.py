"""The database that is asked: options of libpq in URLs and the environment, and the search_path."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url, text

from sqla_typedpool.check.database import connected
from sqla_typedpool.check.database_url import database_url
from sqla_typedpool.check.libpq_options import dsn_of, with_search_path, without_libpq_options
from sqla_typedpool.errors import CannotRun

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres

SCHEMES = ("postgresql", "postgresql+asyncpg", "postgresql+psycopg")
by_scheme = pytest.mark.parametrize("scheme", SCHEMES)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("PGOPTIONS", "PGSERVICE", "PGSERVICEFILE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def asked(url: str, search_path: str | None = None) -> dict[str, Any]:
    """Connect as the checker does; return the search_path and the database of the connection."""

    async def main() -> dict[str, Any]:
        async with connected(database_url(url), search_path=search_path) as connection:
            result = await connection.execute(
                text("SELECT current_setting('search_path') AS path, current_database() AS name")
            )
            return dict(result.mappings().one())

    return asyncio.run(main())


def url_of(server: Postgres, scheme: str, query: str = "") -> str:
    return f"{scheme}://postgres@{server.host}:{server.port}/postgres{query}"


def service_file(server: Postgres, folder: Path) -> str:
    file = folder / "services"
    file.write_text(
        f"[app]\nhost={server.host}\nport={server.port}\nuser=postgres\ndbname=template1\n"
    )
    return str(file)


@by_scheme
def test_options_of_the_url_are_sent(
    postgres: Postgres, scheme: str, environment: pytest.MonkeyPatch
) -> None:
    url = url_of(postgres, scheme, "?options=-csearch_path%3Dapp -cwork_mem%3D1MB")
    assert asked(url)["path"] == "app"


@by_scheme
@pytest.mark.parametrize("query", ["?sslmode=prefer", "?sslmode=disable&sslrootcert=/nowhere"])
def test_tls_options_work(
    postgres: Postgres, scheme: str, query: str, environment: pytest.MonkeyPatch
) -> None:
    assert asked(url_of(postgres, scheme, query))["name"] == "postgres"


@by_scheme
def test_tls_that_the_server_does_not_offer_is_refused(
    postgres: Postgres, scheme: str, environment: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CannotRun, match="SSL"):
        asked(url_of(postgres, scheme, "?sslmode=require"))


@by_scheme
def test_options_that_change_nothing_are_accepted(
    postgres: Postgres, scheme: str, environment: pytest.MonkeyPatch
) -> None:
    query = (
        "?keepalives=1&keepalives_idle=5&connect_timeout=9&application_name=x&gssencmode=disable"
    )
    assert asked(url_of(postgres, scheme, query))["name"] == "postgres"


@by_scheme
def test_an_unknown_option_is_refused_by_name(
    postgres: Postgres, scheme: str, environment: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CannotRun, match=r"""["']no_such_option["'].*; next: c\w+ the"""):
        asked(url_of(postgres, scheme, "?no_such_option=1"))


@pytest.mark.parametrize(
    ("scheme", "path"),
    [
        ("postgresql", "app"),
        ("postgresql+psycopg", "app"),
        ("postgresql+psycopg2", "app"),
        ("postgresql+asyncpg", '"$user", public'),  # as in an application with asyncpg
    ],
)
def test_pgoptions_has_the_effect_that_it_has_in_the_application(
    postgres: Postgres, scheme: str, path: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("PGOPTIONS", "-csearch_path=app")
    assert asked(url_of(postgres, scheme))["path"] == path


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_service_is_found(
    postgres: Postgres, scheme: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("PGSERVICEFILE", service_file(postgres, tmp_path))
    assert asked(f"{scheme}://?service=app")["name"] == "template1"
    environment.setenv("PGSERVICE", "app")
    assert asked(f"{scheme}://")["name"] == "template1"


def test_a_service_that_asyncpg_would_ignore_is_refused() -> None:
    with pytest.raises(CannotRun) as caught:
        database_url("postgresql+asyncpg://?service=app")
    assert str(caught.value) == (
        "asyncpg ignores the option service in a URL with +asyncpg, and connects to another server;"
        " next: write the host and the database into the URL, or remove +asyncpg"
    )


@by_scheme
@pytest.mark.parametrize("query", ["", "?options=-csearch_path%3Dother"])
def test_a_given_search_path_replaces_any_other(
    postgres: Postgres, scheme: str, query: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("PGOPTIONS", "-csearch_path=third")
    path = asked(url_of(postgres, scheme, query), search_path="app, public")["path"]
    assert path == "app, public"


@pytest.mark.parametrize("url", ["sqlite://", "mysql+aiomysql://h/d"])
def test_another_database_has_no_search_path(url: str) -> None:
    pytest.importorskip("aiomysql")
    with pytest.raises(CannotRun, match="has no search_path; next: remove --search-path and the"):
        asked(url, search_path="app")


def test_a_dsn_has_only_the_options_that_asyncpg_reads_there() -> None:
    url = make_url("postgresql+asyncpg://h/d?sslmode=require&keepalives=1&ssl=x&options=-c a%3D1")
    assert dsn_of(url) == "postgresql://?sslmode=require&options=-c+a%3D1"
    assert without_libpq_options(url).query == {"ssl": "x"}
    assert dsn_of(make_url("postgresql+asyncpg://h/d?keepalives=1")) is None


def test_a_search_path_is_escaped_in_options() -> None:
    assert with_search_path("-ca=1", r"a, b\c") == r"-ca=1 -csearch_path=a,\ b\\c"
