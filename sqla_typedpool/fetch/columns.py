"""The columns of a result, determined before its rows are fetched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON

from sqla_typedpool._sqlalchemy.results import DECODED_JSON, shape_of
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.dbtypes import DbType, db_type_of, postgresql_type
from sqla_typedpool.mapping.mapper import Mapper, mapper_for
from sqla_typedpool.mapping.plan import Column

_MAX_MAPPERS = 1000
_FAMILIES = {"mariadb": "mysql"}
_DECODED = DbType("json", json=True)
NO_ROWS = "the statement returns no rows; next: run it with execute()"


def columns_of_prepared(attributes: Sequence[Any]) -> tuple[Column, ...]:
    """Return the columns of a statement that asyncpg has prepared.

    :raises RowShapeError: the statement returns no rows.
    """
    if not attributes:
        raise RowShapeError(NO_ROWS)
    return tuple([Column(each.name, _db_type(each.type)) for each in attributes])


def _db_type(described: Any) -> DbType:
    """Find a type by its OID, because an application's type may have any name."""
    db_type = postgresql_type(described.oid)
    is_known = db_type.python or db_type.json or db_type.is_range
    return db_type if is_known else DbType(described.name)


def with_sqlalchemy_names(
    columns: tuple[Column, ...], entries: Sequence[Any], processors: Sequence[Any]
) -> tuple[Column, ...]:
    """Give columns the names that SQLAlchemy gives them.

    :param entries: the ``result_columns`` of a compiled statement.
    :param processors: SQLAlchemy's result processors. A column that has one gets an
        unknown type, or that of decoded JSON.
    """
    processors = processors or (None,) * len(columns)
    return tuple(
        [
            Column(entry.keyname, _processed(entry.type) if processor else column.db_type)
            for column, entry, processor in zip(columns, entries, processors, strict=True)
        ]
    )


def _processed(column_type: Any) -> DbType | None:
    return _DECODED if isinstance(column_type, JSON) else None


def mapper_for_result(result: Any, row_type: Any) -> Mapper[Any]:
    """Return the mapper for a ``Result``.

    :raises RowShapeError: the columns do not fit; the error names each of them.
    """
    shape = shape_of(result)
    if not shape.returns_rows:
        raise RowShapeError(NO_ROWS)
    name = "postgresql" if shape.dialect is None else shape.dialect.name
    key = row_type, shape.names, shape.codes, _FAMILIES.get(name, name)
    try:
        return _cached_mapper(*key)
    except TypeError:  # metadata in Annotated cannot be hashed
        return _make_mapper(*key)


def _make_mapper(
    row_type: Any, names: tuple[str, ...], codes: tuple[Any, ...], family: str
) -> Mapper[Any]:
    codes = codes or (None,) * len(names)
    columns = columns_of_codes(zip(names, codes, strict=True), family)
    return mapper_for(row_type, columns, family)


# mapper_for() has a cache too, but the columns that are its key cost more than mapping one row.
_cached_mapper = lru_cache(_MAX_MAPPERS)(_make_mapper)


def columns_of_codes(described: Iterable[tuple[str, Any]], family: str) -> tuple[Column, ...]:
    """Return the columns of which a driver reports the names and the type codes."""
    return tuple([Column(name, _by_code(code, family)) for name, code in described])


def _by_code(code: Any, family: str) -> DbType | None:
    """Return the type that a driver's type code stands for; None if it is unknown."""
    if code is DECODED_JSON:
        return _DECODED
    return db_type_of(code, family) if isinstance(code, int) else None
