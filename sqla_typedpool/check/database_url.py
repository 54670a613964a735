"""The URL of a database: what is wrong with it, and the driver that it gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from sqla_typedpool.check.environment import install_hint
from sqla_typedpool.check.libpq_options import refuse_ignored, with_environment
from sqla_typedpool.describe.families import FAMILIES, Family
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import known_secrets, mask_secrets

_PLUGIN = "typedpool"
_UNREPLACED = re.compile(r"^\$|\$\{|\{\{|^<.*>$")
_LIBPQ = re.compile(r"\b(host|hostaddr|dbname|user|port|service)\s*=")
_SCHEME = re.compile(r"\w+(\+\w+)?")


def database_url(given: str, name: str = "the database URL") -> URL:
    """Return the URL with an installed asynchronous driver.

    :param given: such as ``postgresql://user:password@host/database``. ``postgres://`` and
        URLs with synchronous drivers are accepted too.
    :param name: the option or the variable that contains it, for errors.
    :raises CannotRun: as `read_url`, or no driver is installed.
    """
    url = read_url(given, name)
    driver = _installed_driver(url, FAMILIES[url.get_backend_name()])
    if driver == "asyncpg":
        url = _for_asyncpg(url)
    return url.set(drivername=f"{url.get_backend_name()}+{driver}")


def read_url(given: str, name: str) -> URL:
    """Return a database URL as it was given, but ``postgres://`` as ``postgresql://``.

    :param name: the option or the variable that contains it, for errors.
    :raises CannotRun: it is not a URL, or not of a supported database. The message says what is
        wrong. It shows no password, nor a text that may contain one.
    """
    if not given.strip():
        # a missing secret in CI gives an empty URL, which must not count as no URL
        raise CannotRun(f"{name} is empty; next: set it to the URL of the database, or remove it")
    for fault in _faults_of_text(given):
        raise CannotRun(f"{name} is not a database URL: {fault}")
    url = _parsed(given, name)
    for fault in _faults_of_parts(url, given):
        raise CannotRun(f"{name} cannot be used: {fault}")
    return url


def shown(url: URL) -> str:
    """Return a URL for messages, without passwords, also in its query string."""
    secrets = [key for key in url.query if "pass" in key.lower() or "secret" in key.lower()]
    hidden = url.update_query_dict(dict.fromkeys(secrets, "***"))
    rendered = hidden.render_as_string(hide_password=True)
    return mask_secrets(rendered, known_secrets(None, url.host, url.database))


# ------------------------------------------------------------------- before it is parsed


def _faults_of_text(given: str) -> Iterator[str]:
    """Yield what is wrong with a text, each with the next step."""
    if given != given.strip():
        yield f"it {_outer_space(given)}; next: remove that"
    if given[0] in "\"'" or given[-1] in "\"'":
        yield "it contains the quotes around it; next: remove them"
    if _UNREPLACED.search(given):
        yield "it contains a placeholder; next: replace it by the value"
    scheme, separator, _ = given.partition("://")
    if scheme.lower().startswith("jdbc:"):
        yield f"it is a URL for JDBC; next: write it as {_example(scheme[5:])}"
    if not separator:
        yield _without_scheme(given)
    elif "=" in scheme:
        yield "it begins with the name of a variable; next: give only what follows the ="
    elif not _SCHEME.fullmatch(scheme):
        yield f"its scheme is not a name; next: write it as {_example(scheme)}"


def _outer_space(given: str) -> str:
    where, space = ("begins", given[0]) if given[0].isspace() else ("ends", given[-1])
    kind = "line break" if space in "\r\n" else "space"
    return f"{where} with a {kind}"


def _without_scheme(given: str) -> str:
    if _LIBPQ.search(given):
        return f"it is a connection string of libpq; next: write it as {_example('postgresql')}"
    kind = given.partition(":")[0].partition("+")[0]
    if kind in FAMILIES:
        return f"there is no :// after the scheme; next: write it as {_example(kind)}"
    if Path(given).suffix in (".db", ".sqlite", ".sqlite3"):
        return f"it has no scheme; next: write sqlite:/// before the path: {_example('sqlite')}"
    return f"it has no scheme; next: write it as {_example('postgresql')}"


def _example(kind: str) -> str:
    """Return a URL of a kind of database, or of PostgreSQL."""
    name = kind if kind in FAMILIES else "postgresql"
    driver = FAMILIES[name].drivers[0]
    place = "/file.db" if name == "sqlite" else "user@host/database"
    return f"{name}+{driver}://{place}"


def _parsed(given: str, name: str) -> URL:
    scheme, separator, rest = given.partition("://")
    kind, plus, driver = scheme.partition("+")
    known = "postgresql" if kind == "postgres" else kind
    try:
        return make_url(f"{known}{plus}{driver}{separator}{rest}")
    except (ArgumentError, ValueError):
        raise CannotRun(
            f"{name} is not a database URL: its host and port cannot be read; next: write it as"
            f" {_example(known)}, and percent-encode special characters of the password"
        ) from None


# ------------------------------------------------------------------------ its parts


def _faults_of_parts(url: URL, given: str) -> Iterator[str]:
    """Yield what is wrong with the parts of a URL, each with the next step."""
    kind = url.get_backend_name()
    family = FAMILIES.get(kind)
    if family is None:
        yield f"{kind} is not supported; {_hint(kind, kind, FAMILIES)}"
        return
    if kind == "sqlite":
        yield from _faults_of_file(url)
    elif given.partition("?")[0].count("@") > 1:
        yield "its user or password contains an @; next: write it as %40"
    elif url.host is None and "@" in (url.database or ""):
        yield "there are three slashes before the user; next: remove one of them"
    yield from _faults_of_driver(url, family)
    yield from _faults_of_plugin(url)


def _faults_of_file(url: URL) -> Iterator[str]:
    if url.host is not None:
        yield (
            "there are two slashes before the path; next: write sqlite:///file.db, or"
            " sqlite:////folder/file.db for an absolute path"
        )


def _faults_of_driver(url: URL, family: Family) -> Iterator[str]:
    named = url.drivername.partition("+")[2]
    if "+" in url.drivername and named not in family.drivers and not _is_known(url.drivername):
        hint = _hint(url.drivername, named, family.drivers)
        yield f"there is no driver {named!r} for {url.get_backend_name()}; {hint}"


def _faults_of_plugin(url: URL) -> Iterator[str]:
    """Yield the options for the pool that would be sent to the driver, and a wrong plugin."""
    plugins = url.normalized_query.get("plugin", ())
    for each in plugins:
        if each != _PLUGIN and get_close_matches(each, [_PLUGIN]):
            yield f"there is no plugin {each}; did you mean plugin={_PLUGIN}?"
    for name, value in () if plugins else url.query.items():
        if value == _PLUGIN:
            yield f"{name}={_PLUGIN} is not an option; did you mean plugin={_PLUGIN}?"
        if name.startswith("pool_"):
            yield f"{name} needs the plugin of the pool; next: add plugin={_PLUGIN} to the URL"


def _hint(name: str, given: str, choices: Iterable[str]) -> str:
    """Return the similar choice as a question, or all choices as the next step.

    :param name: of a dialect. If SQLAlchemy has it, no other one was meant.
    """
    near = [] if _is_known(name) else get_close_matches(given.lower(), list(choices), 1, 0.75)
    return f"did you mean {near[0]}?" if near else f"next: use one of {', '.join(choices)}"


def _is_known(drivername: str) -> bool:
    """Return whether SQLAlchemy has a dialect, such as ``postgresql+psycopg2``."""
    try:
        URL.create(drivername).get_dialect()
    except NoSuchModuleError:
        return False
    except ImportError:  # of another package
        return True
    return True


def _installed_driver(url: URL, family: Family) -> str:
    named = url.drivername.partition("+")[2].removesuffix("_async")  # as in psycopg_async
    candidates = (named,) if named in family.drivers else family.drivers
    for driver in candidates:
        if find_spec(driver) is not None:
            return driver
    hint = install_hint(candidates[0], f'pip install "sqla-typedpool[{candidates[0]}]"')
    raise CannotRun(f"no driver for {shown(url)} is installed; next: {hint}")


def _for_asyncpg(url: URL) -> URL:
    """Add libpq's options in the environment, unless the application uses asyncpg as well."""
    if url.drivername.partition("+")[2] != "asyncpg":
        return with_environment(url)
    refuse_ignored(url)
    return url
