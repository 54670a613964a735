"""The public names."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sqla_typedpool

ROOT = Path(__file__).parents[2]

POOL_NAMES = {
    "Distribution",
    "EngineOptions",
    "Holder",
    "PoolClosed",
    "PoolOptions",
    "PoolSaturated",
    "PoolStats",
    "PoolTimeout",
    "TypedPool",
    "TypedPoolError",
    "create_typed_engine",
    "holder_label",
}

PUBLIC = POOL_NAMES | {
    "ByName",
    "Col",
    "Decode",
    "Executor",
    "Flatten",
    "Json",
    "RowCount",
    "RowShapeError",
    "RowValueError",
    "StatementTimeout",
    "TypedRows",
    "execute",
    "explain_mapping",
    "fetch_all",
    "fetch_one",
    "fetch_optional",
    "query",
    "query_info",
    "rows_as",
    "stream",
}


def test_the_public_names_are_the_documented_ones() -> None:
    names = set(sqla_typedpool.__all__)
    assert names == PUBLIC


def test_the_list_is_sorted_and_every_name_exists() -> None:
    names = list(sqla_typedpool.__all__)
    assert names == sorted(names)
    assert len(names) == len(set(names))
    for name in names:
        assert getattr(sqla_typedpool, name) is not None


def test_every_public_name_has_a_docstring() -> None:
    for name in sqla_typedpool.__all__:
        value = getattr(sqla_typedpool, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), name


def test_every_public_method_of_the_pool_has_a_docstring() -> None:
    for name, value in vars(sqla_typedpool.TypedPool).items():
        if not name.startswith("_") and callable(value):
            assert (value.__doc__ or "").strip(), name


def test_nothing_else_is_public_in_the_package() -> None:
    known = set(sqla_typedpool.__all__) | {"annotations"}
    modules = {name.split(".")[1] for name in sys.modules if name.startswith("sqla_typedpool.")}
    extra = {
        name
        for name in vars(sqla_typedpool)
        if not name.startswith(("_", "@")) and name not in known
    }
    assert extra <= modules


def test_the_version_is_the_projects() -> None:
    assert f'version = "{sqla_typedpool.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_the_package_is_typed() -> None:
    assert (ROOT / "sqla_typedpool" / "py.typed").exists()


@pytest.mark.parametrize(
    "driver", ["asyncpg", "psycopg", "aiosqlite", "aiomysql", "asyncmy", "rich", "uvloop"]
)
def test_importing_the_package_imports_no_optional_package(driver: str) -> None:
    code = f"import sys, sqla_typedpool; sys.exit({driver!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
