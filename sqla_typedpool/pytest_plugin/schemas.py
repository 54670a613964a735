"""What a test's database has in it: said by a fixture or by settings, and built once."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sqla_typedpool.ephemeral import build
from sqla_typedpool.ephemeral.building import run_apart
from sqla_typedpool.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqla_typedpool.check.config import Settings

_KINDS = ("metadata", "alembic", "schema")


class Configured(dict[str, Any]):
    """The arguments of `build`, as settings give them."""


def configured_schema(config: pytest.Config) -> Configured | None:
    """What pytest's settings say, else those of the command; None = nothing."""
    given = Configured({kind: config.getini(f"typedpool_{kind}") or None for kind in _KINDS})
    if not any(given.values()):
        found = _project_settings(config.rootpath)
        given = Configured({kind: getattr(found, kind) for kind in _KINDS})
    for kind in ("alembic", "schema"):
        if given[kind] is not None:
            given[kind] = config.rootpath / given[kind]
    return given if any(given.values()) else None


def _project_settings(folder: Path) -> Settings:
    from sqla_typedpool.cli.project import settings  # the command, which is much to import

    try:
        return settings(folder)
    except CannotRun as error:
        says = str(error)
    pytest.fail(f"typedpool_schema: {says}", pytrace=False)


def build_schema(url: str, schema: Any) -> None:
    """Build in the empty database at `url` what the fixture `typedpool_schema` has returned.

    An error fails the test with one sentence; a function of the user's keeps its traceback.
    """
    if schema is None:
        return
    if inspect.isfunction(schema) or inspect.ismethod(schema):
        _call(schema, url)
        return
    try:
        build(url, **_arguments(schema))
        return
    except CannotRun as error:
        says = str(error)
    pytest.fail(f"typedpool_schema: {says}", pytrace=False)


def _call(build_it: Callable[[str], Any], url: str) -> None:
    async def call() -> None:
        await build_it(url)

    if inspect.iscoroutinefunction(build_it):
        run_apart(call)
    else:
        build_it(url)


def _arguments(schema: Any) -> dict[str, Any]:
    if isinstance(schema, Configured):
        return dict(schema)
    if isinstance(schema, str | os.PathLike):
        kinds = {".ini": "alembic", ".sql": "schema"}
        kind = kinds.get(Path(schema).suffix)
        if kind is not None:
            return {kind: schema}
        if isinstance(schema, str) and ":" in schema:
            return {"metadata": schema}
    elif hasattr(schema, "tables") or hasattr(schema, "metadata"):
        return {"metadata": schema}
    raise CannotRun(
        f"it returned {schema!r}. Next: return a MetaData, 'app.models:Base.metadata', the path of"
        " an .ini (Alembic) or .sql file, a function of the URL, or None."
    )
