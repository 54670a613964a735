"""The sdist and the wheel in `dist` are complete: `make package` builds both and runs this file.

The wheel is installed in a new virtual environment without any extra; the tests of the unpacked
sdist run with the packages of this one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from tests.support.imports import PACKAGE_ROOT, ROOT

DIST = ROOT / "dist"
ENTRY = PACKAGE_ROOT / "pytest_plugin" / "entry"
RELATIVE = re.compile(r"\]\((?!https?:|#)([^)\s#]+)")

IMPORT_ALL = """
import importlib, pkgutil, sqla_typedpool
print(sqla_typedpool.__file__)
for module in pkgutil.walk_packages(sqla_typedpool.__path__, "sqla_typedpool."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(f"{module.name}: {error}")
"""
INTEGRATIONS = {
    "fastapi": "fastapi",
    "litestar": "litestar",
    "opentelemetry": "opentelemetry",
    "prometheus": "prometheus_client",
    "starlette": "starlette",
}
# Files that are imported only where these packages are, and whose users name the extra.
INTERNAL = re.compile(
    r"sqla_typedpool\.(cli|describe|pytest_plugin)\.[\w.]+: No module named "
    r"'(apsw|pytest|rich|sqlglot)'"
)
# Tests without a server, tests that read most files of the repository, and tests on PostgreSQL.
SHORT_TESTS = ("tests/mapping", "tests/project", "tests/ephemeral")
LEFT_OUT = ("example*", "snippets*", "five_minutes*")  # they take long, and `make test` runs them

pytestmark = pytest.mark.timeout(600)


def built(pattern: str) -> Path:
    (file,) = DIST.glob(pattern)
    return file


def files_of_wheel() -> set[str]:
    with zipfile.ZipFile(built("*.whl")) as wheel:
        return set(wheel.namelist())


def files_of_sdist() -> set[str]:
    with tarfile.open(built("*.tar.gz")) as sdist:
        return {member.name.partition("/")[2] for member in sdist if member.isfile()}


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, without the paths and plugins of this session."""
    names = ("PYTHONPATH", "PYTEST_ADDOPTS", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment, in which only the wheel is installed."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    ended = run(interpreter, "-m", "pip", "install", "-q", built("*.whl"), folder=folder)
    assert ended.returncode == 0, ended.stderr
    return interpreter


# -------------------------------------------------------------------------------------- contents


def test_the_wheel_contains_the_package_and_its_pytest_plugin_only() -> None:
    source = {
        file
        for file in PACKAGE_ROOT.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    plugin = {file for file in source if ENTRY in file.parents}
    expected = {file.relative_to(ROOT).as_posix() for file in source - plugin}
    expected |= {file.relative_to(ENTRY).as_posix() for file in plugin}
    assert {name for name in files_of_wheel() if ".dist-info/" not in name} == expected
    assert "sqla_typedpool/py.typed" in expected


def test_the_wheel_contains_the_licence() -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in files_of_wheel())


def test_the_sdist_contains_what_the_readme_links_to() -> None:
    targets = set(RELATIVE.findall((ROOT / "README.md").read_text()))
    assert targets - files_of_sdist() == set()
    assert targets


def test_the_description_is_the_readme() -> None:
    with zipfile.ZipFile(built("*.whl")) as wheel:
        (name,) = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA")]
        metadata = message_from_string(wheel.read(name).decode())
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()


# ------------------------------------------------------------------------------------- installed


def test_the_installed_package_imports_without_any_extra(python: Path) -> None:
    ended = run(python, "-W", "error", "-c", IMPORT_ALL, folder=python.parent)
    assert ended.returncode == 0, ended.stderr
    place, *missing = ended.stdout.splitlines()
    assert "site-packages" in place
    public = [line for line in missing if not INTERNAL.fullmatch(line)]
    assert public == [
        f"sqla_typedpool.integrations.{extra}: sqla_typedpool.integrations.{extra} needs {package},"
        f' which is not installed; next: pip install "sqla-typedpool[{extra}]"'
        for extra, package in INTEGRATIONS.items()
    ]


def test_the_installed_command_runs_without_any_extra(python: Path) -> None:
    command = python.parent / "sqla-typedpool"
    helped = run(command, "--help", folder=python.parent)
    assert helped.returncode == 0, helped.stderr
    assert "check" in helped.stdout
    named = run(command, "--version", folder=python.parent)
    assert named.stdout.split()[1] in built("*.whl").name


# ------------------------------------------------------------------------------- unpacked sdist


def test_the_tests_of_the_unpacked_sdist_pass(tmp_path: Path) -> None:
    with tarfile.open(built("*.tar.gz")) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    assert not (folder / ".git").exists()
    left_out = [f"--ignore-glob=tests/project/test_{name}" for name in LEFT_OUT]
    chosen = ("-q", "-m", "not slow and not mariadb", *left_out, *SHORT_TESTS)
    ended = run(sys.executable, "-m", "pytest", *chosen, folder=folder)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr
