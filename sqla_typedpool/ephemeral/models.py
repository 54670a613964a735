"""Build a schema from SQLAlchemy's metadata, which may be given by its name."""

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
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateSchema
from sqlalchemy.types import TypeDecorator, TypeEngine

from sqla_typedpool.ephemeral.connecting import connection_to, driver_message
from sqla_typedpool.errors import CannotRun

_EXTENSIONS: dict[type[TypeEngine[Any]], str] = {CITEXT: "citext", HSTORE: "hstore"}


async def create(url: str, source: str | MetaData) -> None:
    """Create all tables, and the schemas and extensions that they need.

    :param source: a MetaData, or its name such as ``"app.models:Base.metadata"``.
    :raises CannotRun: there is no such metadata, it has no tables, or the database reports an
        error.
    """
    metadata = (
        import_metadata(source) if isinstance(source, str) else _metadata_in(source, "metadata")
    )
    try:
        async with connection_to(url) as connection:
            for extension in sorted(_extensions(metadata)):
                await connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {extension}"))
            for name in sorted(_schemas(metadata)):
                await connection.execute(CreateSchema(name, if_not_exists=True))
            await connection.run_sync(metadata.create_all)
    except (OSError, SQLAlchemyError) as error:
        raise CannotRun(_failure(source, error)) from error


def import_metadata(name: str) -> MetaData:
    """Import ``"app.models:Base.metadata"``, with the working directory on the path.

    :raises CannotRun: the name has another form, cannot be imported, or is no MetaData with tables.
    """
    module, _, attributes = name.partition(":")
    if not module or not attributes:
        raise CannotRun(
            f"the metadata {name!r} is not a module and an attribute; next: write it as"
            " MODULE:ATTRIBUTE, such as app.models:Base.metadata"
        )
    imported = _import_module(module)
    try:
        found = reduce(getattr, attributes.split("."), imported)
    except AttributeError as error:
        raise CannotRun(
            f"the metadata {name!r} does not exist: {error}; next: correct the name"
        ) from None
    return _metadata_in(found, name)


def _import_module(module: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the application's code may raise anything
        *_, last = traceback.extract_tb(error.__traceback__)
        reason = traceback.format_exception_only(type(error), error)[-1].strip()
        raise CannotRun(
            f"the module {module} cannot be imported: {reason} ({last.filename}:{last.lineno});"
            " next: correct it, or name another module"
        ) from error


def _metadata_in(found: Any, name: str) -> MetaData:
    """Return the MetaData, or the one of a declarative base or a registry."""
    metadata = found if isinstance(found, MetaData) else getattr(found, "metadata", None)
    if not isinstance(metadata, MetaData):
        raise CannotRun(
            f"{name} is {type(found).__name__}, not MetaData; next: name the MetaData, such as"
            " app.models:Base.metadata"
        )
    if not metadata.tables:
        raise CannotRun(
            f"{name} has no tables; next: name a module that imports all models, such as"
            " app.models:Base.metadata"
        )
    return metadata


def _types(metadata: MetaData) -> Iterator[TypeEngine[Any]]:
    """Yield the type of each column, and the types inside decorators and arrays."""
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
    types = list(_types(metadata))
    return {name for kind, name in _EXTENSIONS.items() if any(isinstance(t, kind) for t in types)}


def _failure(source: str | MetaData, error: Exception) -> str:
    name = source if isinstance(source, str) else "the metadata"
    statement = " ".join((getattr(error, "statement", None) or "").split())
    shown = statement if len(statement) <= 200 else f"{statement[:200]} ..."
    return (
        f"the tables of {name} cannot be created: {driver_message(error)}"
        + (f" [{shown}]" if shown else "")
        + "; next: create the extensions and types that they need in a before_create event of the"
        " metadata, or build from alembic or schema"
    )
