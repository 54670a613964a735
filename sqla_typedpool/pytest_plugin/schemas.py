"""The schema of a test's database: read from a fixture or from settings, and built once."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sqla_typedpool.ephemeral import build
from sqla_typedpool.ephemeral.connecting import run_in_thread
from sqla_typedpool.errors import CannotRun

_KINDS = ("metadata", "alembic", "schema")


class ConfiguredSchema(dict[str, Any]):
    """The arguments of `build`, read from settings."""


def configured_schema(config: pytest.Config) -> ConfiguredSchema | None:
    """Return the schema of pytest's ini-file, else of pyproject.toml; None if there is none."""
    given = ConfiguredSchema({kind: config.getini(f"typedpool_{kind}") or None for kind in _KINDS})
    if not any(given.values()):
        from sqla_typedpool.check.config import read_settings  # takes long to import

        with _errors_fail_the_test():
            found = read_settings(config.rootpath)
        given = ConfiguredSchema({kind: getattr(found, kind) for kind in _KINDS})
    for kind in ("alembic", "schema"):
        if given[kind] is not None:
            given[kind] = config.rootpath / given[kind]
    return given if any(given.values()) else None


@contextmanager
def _errors_fail_the_test() -> Iterator[None]:
    """Make a CannotRun fail the test with its message alone, without a traceback."""
    try:
        yield
    except CannotRun as error:
        raise pytest.fail.Exception(f"typedpool_schema: {error}", pytrace=False) from None


def build_schema(url: str, schema: Any) -> None:
    """Build a schema in the empty database at `url`.

    An error of `build` fails the test with its message alone. An error that a function of the
    user raises keeps its traceback.

    :param schema: the value of the fixture `typedpool_schema`.
    """
    if schema is None:
        return
    if inspect.isfunction(schema) or inspect.ismethod(schema):
        _call(schema, url)
        return
    with _errors_fail_the_test():
        build(url, **_arguments(schema))


def _call(function: Callable[[str], Any], url: str) -> None:
    if inspect.iscoroutinefunction(function):
        run_in_thread(lambda: function(url))
    else:
        function(url)


def _arguments(schema: Any) -> dict[str, Any]:
    """Return the arguments of `build` for the value of the fixture.

    :raises CannotRun: the fixture returned a value of another kind.
    """
    if isinstance(schema, ConfiguredSchema):
        return dict(schema)
    if isinstance(schema, str | os.PathLike):
        kind = {".ini": "alembic", ".sql": "schema"}.get(Path(schema).suffix)
        if kind is not None:
            return {kind: schema}
        if isinstance(schema, str) and ":" in schema:
            return {"metadata": schema}
    elif hasattr(schema, "tables") or hasattr(schema, "metadata"):
        return {"metadata": schema}
    raise CannotRun(
        f"the fixture returned {schema!r}; next: return a MetaData, 'app.models:Base.metadata', the"
        " path of an .ini file (Alembic) or .sql file, a function of the URL, or None"
    )
