"""Loading the plugin does not import SQLAlchemy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.pytest_plugin.project import ENTRY, ROOT, Project

pytest.importorskip("asyncpg")


def test_loading_the_plugin_does_not_import_sqlalchemy() -> None:
    program = (
        "import sys, pytest, sqla_typedpool_pytest\n"
        "heavy = {'sqlalchemy', 'sqla_typedpool', 'asyncpg', 'greenlet'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": f"{ROOT}{os.pathsep}{ENTRY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_part_that_pytest_loads_is_packaged_beside_the_package() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("no tomllib here")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (name,) = project["project"]["entry-points"]["pytest11"].values()
    found = project["tool"]["setuptools"]["packages"]["find"]
    assert [path.name for path in ENTRY.iterdir() if path.name != "__pycache__"] == [name]
    assert found["where"] == [".", ENTRY.relative_to(ROOT).as_posix()]
    assert found["exclude"] == ["sqla_typedpool.pytest_plugin.entry*"]


def test_a_session_that_does_not_use_the_plugin_does_not_import_sqlalchemy(
    serverless: Project,
) -> None:
    serverless.write(
        "test_it.py", "import sys\ndef test_it():\n    assert 'sqlalchemy' not in sys.modules\n"
    )
    code, output = serverless.run()
    assert code == 0, output
