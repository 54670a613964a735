"""The contents of the distribution, and the files with the settings of the tools."""

from __future__ import annotations

import configparser
import importlib
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import sqla_typedpool

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
OTHER_FILES = {
    "ruff": ("ruff.toml", ".ruff.toml"),
    "mypy": ("mypy.ini", ".mypy.ini"),
    "pyright": ("pyrightconfig.json",),
    "pytest": ("pytest.ini", ".pytest.ini", "pytest.toml", "tox.ini"),
    "coverage": (".coveragerc",),
}


def test_each_tool_is_configured_in_one_file_only() -> None:
    doubled = [name for names in OTHER_FILES.values() for name in names if (ROOT / name).exists()]
    assert doubled == []
    setup_cfg = configparser.ConfigParser()
    setup_cfg.read(ROOT / "setup.cfg")
    # Setuptools would ignore [metadata] and [options] silently, pytest its section; [egg_info] is
    # in an sdist.
    assert set(setup_cfg.sections()) <= {"sqla_testing", "db", "egg_info"}


def test_the_version_is_the_one_in_pyproject() -> None:
    assert sqla_typedpool.__version__ == PROJECT["version"]


def test_the_changelog_has_an_entry_for_this_version() -> None:
    assert PROJECT["version"] in (ROOT / "CHANGELOG.md").read_text()


def test_sqlalchemy_is_the_only_required_dependency() -> None:
    (dependency,) = PROJECT["dependencies"]
    assert dependency.startswith("sqlalchemy[asyncio]>=2.0.56,<2.2,")
    assert all(f"!=2.1.{patch}" in dependency for patch in range(7))


def test_the_extras_are_the_documented_ones() -> None:
    drivers = "asyncpg psycopg aiosqlite aiomysql asyncmy"
    integrations = "opentelemetry prometheus fastapi starlette litestar"
    extras = f"{drivers} {integrations} check embedded cli"
    assert set(PROJECT["optional-dependencies"]) == set(extras.split())


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "sqla_typedpool" / "py.typed").is_file()
    assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"]["sqla_typedpool"]


def entry_points() -> list[str]:
    """Return the targets of all scripts and plugins, as module:attribute."""
    groups = [PROJECT.get("scripts", {}), *PROJECT.get("entry-points", {}).values()]
    return [target for group in groups for target in group.values()]


@pytest.mark.parametrize("target", entry_points())
def test_the_target_of_an_entry_point_exists(target: str) -> None:
    module, _, attribute = target.partition(":")
    found = importlib.import_module(module)
    assert not attribute or callable(getattr(found, attribute))


def test_the_installed_version_is_the_one_of_the_source() -> None:
    try:
        installed = metadata.version("sqla-typedpool")
    except metadata.PackageNotFoundError:
        pytest.skip("not installed: running from the source tree")
    assert installed == PROJECT["version"], "installed from an older tree: run pip install -e ."
