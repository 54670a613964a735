"""A short scene: rows that become what was declared, and one that does not."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import RowValueError, TypedPool, fetch_all
from sqla_typedpool.demo.target import DemoError

QUESTION = (
    "SELECT name, setting, unit, pending_restart FROM pg_settings"
    " WHERE name IN ('max_connections', 'shared_buffers') ORDER BY name"
)
DECLARED = """\
@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    setting: str
    unit: str | None
    pending_restart: bool"""


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of PostgreSQL's view pg_settings; where the value is a plain number it has no unit."""

    name: str
    setting: str
    unit: str | None
    pending_restart: bool


@dataclass(frozen=True, slots=True)
class SettingWithUnit:
    """The same, by somebody who did not know that."""

    name: str
    setting: str
    unit: str
    pending_restart: bool


async def typed_rows(url: URL) -> tuple[list[str], str]:
    """The rows as Python prints them, and the error for the class that allows no NULL."""
    engine = create_async_engine(url, poolclass=TypedPool)
    try:
        settings = await fetch_all(engine, Setting, QUESTION)
        try:
            await fetch_all(engine, SettingWithUnit, QUESTION)
        except RowValueError as error:
            return [repr(setting) for setting in settings], str(error)
    finally:
        await engine.dispose()
    raise DemoError("A NULL was let through where none was declared; please report this.")
