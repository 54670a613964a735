"""The project's own options, out of its pyproject.toml."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from sqla_typedpool.check.config import Settings, settings_of
from sqla_typedpool.errors import CannotRun

FILE = "pyproject.toml"


def settings(folder: Path | None = None) -> Settings:
    """What `[tool.sqla_typedpool]` of a folder's pyproject.toml says.

    :param folder: None = the working directory.
    :raises CannotRun: the file is wrong, or cannot be read on Python 3.10 without `tomli`.
    """
    try:
        text = Path(folder or ".", FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(f"{FILE} cannot be read: {error}; next: write it as UTF-8") from error
    if "sqla_typedpool" not in text:
        return Settings()
    table = _parsed(text).get("tool", {}).get("sqla_typedpool", {})
    return settings_of(table, FILE)


def _parsed(text: str) -> dict[str, Any]:
    try:
        toml: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise CannotRun(
            f"{FILE} has options for sqla-typedpool, and Python 3.10 reads no TOML by itself; "
            'next: pip install "sqla-typedpool[check]"'
        ) from None
    try:
        found: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise CannotRun(f"{FILE} is not TOML: {error}; next: mend that line") from error
    return found


def read_env_file(path: Path, name: str) -> str:
    """A variable out of a file of `NAME=value` lines, which was named on the command line.

    :raises CannotRun: there is no such file, or it does not set the variable.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(
            f"--env-file {path} cannot be read: {error}; next: name a file of NAME=value lines"
        ) from error
    for line in lines:
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and key.strip() == name:
            return value.strip().strip("\"'")
    raise CannotRun(f"--env-file {path} does not set {name}; next: add a line {name}=...")
