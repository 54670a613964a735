"""Build a schema from SQLAlchemy's metadata, which may be given by its name."""

from __future__ import annotations

import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from textwrap import shorten
from typing import Any

from sqlalchemy import ARRAY, MetaData, text
from sqlalchemy.dialects.postgresql import CITEXT, HSTORE
from sqlalchemy.schema import CreateSchema
from sqlalchemy.types import TypeDecorator, TypeEngine

from sqla_typedpool.ephemeral.connecting import (
    CONNECTION_ERRORS,
    connection_to,
    driver_message,
    run_in_thread,
)
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import mask_secrets

_EXTENSIONS: dict[type[TypeEngine[Any]], str] = {CITEXT: "citext", HSTORE: "hstore"}


def create(url: str, source: str | MetaData) -> None:
    """Create all tables, and the schemas and extensions that they need.

    :param source: a MetaData, or its name such as ``"app.models:Base.metadata"``.
    :raises CannotRun: there is no such metadata, it has no tables, the database reports an
        error, or it takes longer than ``BUILD_SECONDS``.
    """
    metadata = _metadata_of(source)
    try:
        run_in_thread(lambda: _create_all(url, metadata))
    except CONNECTION_ERRORS as error:
        raise CannotRun(_failure(source, error)) from error


async def _create_all(url: str, metadata: MetaData) -> None:
    async with connection_to(url) as connection:
        for extension in sorted(_extensions(metadata)):
            await connection.execute(text(f"CREATE EXTENSION IF NOT EXISTS {extension}"))
        for name in sorted(_schemas(metadata)):
            await connection.execute(CreateSchema(name, if_not_exists=True))
        await connection.run_sync(metadata.create_all)


def _metadata_of(source: Any) -> MetaData:
    """Return a MetaData that is given itself or by its name, or that of a declarative base."""
    is_name = isinstance(source, str)
    found = _import_object(source) if is_name else source
    metadata: MetaData = getattr(found, "metadata", found)
    is_metadata = isinstance(metadata, MetaData)
    if is_metadata and metadata.tables:
        return metadata
    raise CannotRun(
        f"{source if is_name else 'metadata'} "
        + ("has no tables" if is_metadata else f"is {type(found).__name__}, not MetaData")
        + "; next: name the MetaData of all models, such as app.models:Base.metadata"
    )


def _import_object(name: str) -> Any:
    """Import ``"app.models:Base.metadata"``, with the working directory on the path."""
    if not all(name.partition(":")):
        raise CannotRun(
            f"the metadata {name!r} is not a module and an attribute; next: write it as"
            " MODULE:ATTRIBUTE, such as app.models:Base.metadata"
        )
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return pkgutil.resolve_name(name)
    except (Exception, SystemExit) as error:  # the application's code may raise anything
        raise CannotRun(
            f"the metadata {name} cannot be imported: {_reason(error)}; next: correct the error,"
            " or name another metadata"
        ) from error


def _reason(error: BaseException) -> str:
    """Return an error on one line, with the place in the application where it was raised."""
    reason = mask_secrets(traceback.format_exception_only(type(error), error)[-1].strip())
    *_, last = traceback.extract_tb(error.__traceback__)
    is_import = last.filename == pkgutil.__file__ or "importlib" in last.filename
    return reason if is_import else f"{reason} ({last.filename}:{last.lineno})"


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
    statement = shorten(getattr(error, "statement", None) or "", 200, placeholder=" ...")
    shown = f" [{statement}]" if statement else ""
    return (
        f"the tables of {name} cannot be created: {driver_message(error)}{shown}; next: create the"
        " extensions and types that they need in a before_create event of the metadata, or build"
        " from alembic or schema"
    )
