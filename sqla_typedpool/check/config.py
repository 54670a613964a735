"""The settings of a project: ``[tool.sqla_typedpool]`` in its pyproject.toml."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from sqla_typedpool.check.environment import install_hint
from sqla_typedpool.errors import CannotRun, RowValueError
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import Json
from sqla_typedpool.mapping.plan import Column
from sqla_typedpool.secrets import mask_secrets

FILE = "pyproject.toml"
_TABLE = "tool.sqla_typedpool"


@dataclass(frozen=True)
class Settings:
    """The settings of a project. Options of the command line override them."""

    modules: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    snapshots: str = ".sqla_typedpool"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    strict: bool = False
    metadata: str | None = None
    alembic: str | None = None
    schema: str | None = None
    search_path: str | None = None


_EXPECTED = {
    "str": "a string",
    "str | None": "a string",
    "tuple[str, ...]": "a list of strings",
    "bool": "true or false",
}


def read_settings(folder: Path | None = None) -> Settings:
    """Read the settings from the pyproject.toml of a folder.

    :param folder: None is the working directory.
    :return: the default settings if there is no such file or no such table.
    :raises CannotRun: the file or a setting is wrong, or Python 3.10 has no `tomli` to read it.
    """
    try:
        text = Path(folder or ".", FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(f"{FILE} cannot be read: {error}; next: save it as UTF-8") from error
    if "sqla_typedpool" not in text:
        return Settings()
    return settings_of(_parsed(text).get("tool", {}).get("sqla_typedpool", {}), FILE)


def _parsed(text: str) -> dict[str, Any]:
    try:
        toml: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        hint = install_hint("tomli", 'pip install "sqla-typedpool[check]"')
        raise CannotRun(
            f"{FILE} contains settings, but Python 3.10 needs the package tomli to read them; "
            f"next: {hint}"
        ) from None
    try:
        found: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise CannotRun(
            f"{FILE} is not valid TOML: {mask_secrets(str(error))}; next: correct that line"
        ) from error
    return found


def settings_of(table: Mapping[str, Any], file: str) -> Settings:
    """Return the settings of a table of a TOML file.

    :param file: the name of the file, for errors.
    :raises CannotRun: a setting is unknown, or its value has the wrong type.
    """
    column = Column(_TABLE, DbType("toml", json=True))
    mapper = mapper_for(Annotated[Settings, Json(defaults=True)], (column,), "postgresql")
    try:
        settings: Settings = mapper.map_rows([(table,)])[0]
    except RowValueError as error:
        raise CannotRun(f"{file}: {_fault(table, error)}") from error
    return settings


def _fault(table: Any, error: RowValueError) -> str:
    if not isinstance(table, dict):
        return f"{_TABLE} is not a table; next: write [{_TABLE}]"
    known = [each.name for each in fields(Settings)]
    for name in table:
        if name not in known:
            similar = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"the names are {', '.join(known)}"
            return f"[{_TABLE}] has no setting {name}; {hint}"
    name, index = re.fullmatch(r"\$\.(\w+)(\[\d+\])?", error.path).groups()  # type: ignore[union-attr]
    expected = "a list of strings" if index else _EXPECTED[error.expected]
    return f"[{_TABLE}] {name} = {mask_secrets(repr(table[name]))} is not {expected}"
