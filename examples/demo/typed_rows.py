"""A short example: rows become a declared class, and an undeclared NULL is an error."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from examples.demo.database import DemoError
from sqla_typedpool import RowValueError, TypedPool, fetch_all

SETTINGS = (
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
    """A row of PostgreSQL's view pg_settings; a plain number has no unit."""

    name: str
    setting: str
    unit: str | None
    pending_restart: bool


@dataclass(frozen=True, slots=True)
class SettingWithUnit:
    """The same row with a wrong type: `unit` may be NULL."""

    name: str
    setting: str
    unit: str
    pending_restart: bool


async def typed_rows(url: URL) -> tuple[list[str], str]:
    """Return the rows as Python prints them, and the error of the class with the wrong type."""
    engine = create_async_engine(url, poolclass=TypedPool)
    try:
        settings = await fetch_all(engine, Setting, SETTINGS)
        try:
            await fetch_all(engine, SettingWithUnit, SETTINGS)
        except RowValueError as error:
            return [repr(setting) for setting in settings], str(error)
    finally:
        await engine.dispose()
    raise DemoError("a NULL in a column that is declared str was accepted; please report this")
