"""Commands as a user runs them, in a separate folder and with a fixed environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTEST_ENTRY = ROOT / "sqla_typedpool" / "pytest_plugin" / "entry"
LEFT_OUT = {"CI", "DATABASE_URL", "PYTEST_ADDOPTS", "SQLA_TYPEDPOOL_TEST_DATABASE_URL", "NO_COLOR"}


def user_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a user's command, with this source tree.

    pytest loads no plugin but ours.

    :param variables: additional environment variables.
    """
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    environment |= {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{PYTEST_ENTRY}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "sqla_typedpool_pytest",
        "COLUMNS": "100",
    }
    return environment | variables


def run_module(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m ...`` as `run_python` does."""
    return run_python(folder, "-m", *command, **variables)


def run_python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``python ...`` as a user does.

    :param variables: additional environment variables.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=user_environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
