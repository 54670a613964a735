"""What an error advises if a package is missing: in the project's environment, and in a hook's."""

from __future__ import annotations

import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest

from sqla_typedpool.check import database_url as urls
from sqla_typedpool.check.discovery import discover
from sqla_typedpool.errors import CannotRun

HOOK = r"next: add (.*) to additional_dependencies of the hook in \.pre-commit-config\.yaml, or "


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that pre-commit creates for a hook."""
    monkeypatch.setenv("PRE_COMMIT", "1")
    monkeypatch.setattr(sys, "prefix", "/cache/repo1/py_env-python3.11")


@pytest.fixture
def message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> Any:
    """Returns the error of the import of a module with this source."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"module_{abs(hash(request.node.name))}"

    def message_of(source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        PathFinder.invalidate_caches()
        with pytest.raises(CannotRun) as caught:
            discover([name])
        return str(caught.value)

    return message_of


@pytest.mark.usefixtures("hook")
@pytest.mark.parametrize(
    ("source", "package"),
    [
        ("import nosuch", "the package that has the module nosuch"),
        ("from nosuch.part import x", "the package that has the module nosuch"),
        ("raise ImportError('email-validator is not installed')", "what is missing"),
    ],
)
def test_in_a_hook_the_error_names_additional_dependencies(
    message: Any, source: str, package: str
) -> None:
    found = re.search(HOOK, message(source))
    assert found is not None
    assert found[1] == package


@pytest.mark.usefixtures("hook")
@pytest.mark.parametrize(
    "source", ["1 / 0", "from json import nosuch", "import json.nosuch", "import sqlalchemy.nosuch"]
)
def test_in_a_hook_an_error_of_the_module_is_to_be_corrected_there(
    message: Any, source: str
) -> None:
    assert "; next: correct the module, or exclude it with --exclude" in message(source)


def test_elsewhere_the_error_names_the_environment(
    message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRE_COMMIT", raising=False)
    expected = (
        f"install the package that has the module nosuch where this command runs: {sys.prefix}"
    )
    assert expected in message("import nosuch")


def test_a_hook_in_the_projects_environment_is_no_environment_of_a_hook(
    message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRE_COMMIT", "1")
    assert "additional_dependencies" not in message("import nosuch")


@pytest.mark.usefixtures("hook")
def test_in_a_hook_a_missing_driver_is_a_missing_dependency(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(urls, "find_spec", lambda name: None)
    with pytest.raises(CannotRun, match=HOOK.replace("(.*)", "asyncpg")):
        urls.database_url("postgresql+asyncpg://server/db")
