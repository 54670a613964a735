"""``[tool.sqla_typedpool]``: what a project always says to the checker."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqla_typedpool.check.snapshots import FOLDER
from sqla_typedpool.errors import CannotRun


@dataclass(frozen=True)
class Settings:
    """The options of a project; the command line wins."""

    modules: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    snapshots: str = FOLDER
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    strict: bool = False
    metadata: str | None = None
    alembic: str | None = None
    schema: str | None = None


_KINDS: dict[str, str] = {each.name: str(each.type) for each in fields(Settings)}


def settings_of(table: Mapping[str, Any], where: str) -> Settings:
    """From the table of a ``pyproject.toml``.

    :param where: the file's name, for errors.
    :raises CannotRun: an unknown option, or a value of the wrong kind.
    """
    if not isinstance(table, Mapping):
        raise CannotRun(f"{where}: tool.sqla_typedpool is not a table")
    for name, value in table.items():
        if name not in _KINDS:
            near = difflib.get_close_matches(name, _KINDS, n=1)
            known = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KINDS)}"
            raise CannotRun(f"{where}: [tool.sqla_typedpool] has no option {name}; {known}")
        if not _is_of(_KINDS[name], value):
            raise CannotRun(
                f"{where}: [tool.sqla_typedpool] {name} = {value!r} is not {_WORDS[_KINDS[name]]}"
            )
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
    }
    return Settings(**values)


_WORDS = {
    "tuple[str, ...]": "a list of strings",
    "str": "a string",
    "str | None": "a string",
    "bool": "true or false",
}


def _is_of(kind: str, value: Any) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "tuple[str, ...]":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, str)
