"""A schema from SQLAlchemy's metadata: found by its name, and created."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from functools import reduce
from typing import Any

from sqlalchemy import ARRAY, MetaData, text
from sqlalchemy.dialects.postgresql import CITEXT, HSTORE
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateSchema
from sqlalchemy.types import TypeDecorator, TypeEngine

from sqla_typedpool.ephemeral.building import connection_to
from sqla_typedpool.errors import CannotRun

_EXTENSIONS: dict[type[TypeEngine[Any]], str] = {CITEXT: "citext", HSTORE: "hstore"}


async def create(url: str, source: str | MetaData) -> None:
    """Create all tables, and the schemas and extensions that they need.

    :raises CannotRun: the metadata is not there or empty, or the database refuses it.
    """
    metadata = find(source) if isinstance(source, str) else _metadata_in(source, "metadata")
    try:
        async with connection_to(url) as connection:
            for extension in sorted(_extensions(metadata)):
                await connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {extension}"))
            for name in sorted(_schemas(metadata)):
                await connection.execute(CreateSchema(name, if_not_exists=True))
            await connection.run_sync(metadata.create_all)
    except (OSError, SQLAlchemyError) as error:
        raise CannotRun(_refusal(source, error)) from error


def find(target: str) -> MetaData:
    """Import ``"app.models:Base.metadata"``, with the working directory on the path.

    :raises CannotRun: it is not written so, cannot be imported, or holds no table.
    """
    module, _, attributes = target.partition(":")
    if not module or not attributes:
        raise CannotRun(
            f"The metadata {target!r} does not say where it is. Next: write MODULE:ATTRIBUTE, such"
            " as app.models:Base.metadata."
        )
    imported = _imported(module)
    try:
        found = reduce(getattr, attributes.split("."), imported)
    except AttributeError as error:
        raise CannotRun(
            f"The metadata {target!r} is not there: {error}. Next: look at its name."
        ) from None
    return _metadata_in(found, target)


def _imported(module: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever the application's code may raise
        *_, last = traceback.extract_tb(error.__traceback__)
        says = traceback.format_exception_only(type(error), error)[-1].strip()
        raise CannotRun(
            f"The module {module} cannot be imported: {says} ({last.filename}:{last.lineno})."
            " Next: mend it, or name another module."
        ) from error


def _metadata_in(found: Any, target: str) -> MetaData:
    """The metadata, also where a declarative base or a registry is given."""
    metadata = found if isinstance(found, MetaData) else getattr(found, "metadata", None)
    if not isinstance(metadata, MetaData):
        raise CannotRun(
            f"{target} is {type(found).__name__}, not MetaData. Next: name the MetaData, such as"
            " app.models:Base.metadata."
        )
    if not metadata.tables:
        raise CannotRun(
            f"{target} has no tables. Next: name a module that imports every model, such as"
            " app.models:Base.metadata."
        )
    return metadata


def _types(metadata: MetaData) -> Iterator[TypeEngine[Any]]:
    """The types of all columns, those inside decorators and arrays included."""
    for table in metadata.tables.values():
        for column in table.columns:
            inner: TypeEngine[Any] = column.type
            yield inner
            while isinstance(inner, ARRAY | TypeDecorator):
                inner = inner.item_type if isinstance(inner, ARRAY) else inner.impl_instance
                yield inner


def _schemas(metadata: MetaData) -> set[str]:
    named = {table.schema for table in metadata.tables.values()}
    named |= {getattr(each, "schema", None) for each in _types(metadata)}
    return {str(name) for name in named if name}


def _extensions(metadata: MetaData) -> set[str]:
    return {
        extension
        for each in _types(metadata)
        for kind, extension in _EXTENSIONS.items()
        if isinstance(each, kind)
    }


def _refusal(source: object, error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    says = " ".join(str(getattr(cause, "__cause__", None) or cause).split())  # the driver's words
    statement = " ".join((getattr(error, "statement", None) or "").split())
    shown = statement if len(statement) <= 200 else f"{statement[:200]} ..."
    return (
        f"The tables of {source if isinstance(source, str) else 'the metadata'} cannot be created:"
        f" {says}" + (f" [{shown}]" if shown else "") + ". Next: create the extensions and types"
        " that it needs in a before_create event of the metadata, or build from alembic or schema."
    )
