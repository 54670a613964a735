"""What is known of a result's columns before its rows are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqla_typedpool._sqlalchemy.results import DECODED_JSON, shape_of
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.delivered import Delivered, delivered_as, postgresql_type
from sqla_typedpool.mapping.mapper import Mapper, mapper_for
from sqla_typedpool.mapping.plan import Column

__all__ = ["described_by_asyncpg", "mapper_of", "relabelled"]

_MOST = 1000  # mappers kept
_FAMILIES = {"mariadb": "mysql"}
_DECODED = Delivered("json", json=True)
_NO_ROWS = "the statement returns no rows; next: run it with execute()"


def described_by_asyncpg(attributes: Sequence[Any]) -> tuple[Column, ...]:
    """The columns of a prepared statement.

    :raises RowShapeError: when it has none.
    """
    if not attributes:
        raise RowShapeError(_NO_ROWS)
    return tuple([Column(each.name, _arrives_as(each.type)) for each in attributes])


def _arrives_as(described: Any) -> Delivered:
    """By its OID: a type of the application's may have any name."""
    delivered = postgresql_type(described.oid)
    is_known = delivered.python or delivered.json or delivered.is_range
    return delivered if is_known else Delivered(described.name)


def relabelled(
    columns: tuple[Column, ...], entries: Sequence[Any], processors: Sequence[Any]
) -> tuple[Column, ...]:
    """SQLAlchemy's names for them; what a processor changes is no longer known."""
    changed = processors or (None,) * len(columns)
    return tuple(
        [
            Column(entry.keyname, None if change else column.delivered)
            for column, entry, change in zip(columns, entries, changed, strict=True)
        ]
    )


def mapper_of(result: Any, row_type: Any) -> Mapper[Any]:
    """The mapper for a ``Result``.

    :raises RowShapeError: naming everything that does not fit.
    """
    shape = shape_of(result)
    if not shape.returns_rows:
        raise RowShapeError(_NO_ROWS)
    name = "postgresql" if shape.dialect is None else shape.dialect.name
    key = row_type, shape.names, shape.codes, _FAMILIES.get(name, name)
    try:
        return _kept(*key)
    except TypeError:  # metadata in Annotated may have no hash
        return _mapper(*key)


def _mapper(
    row_type: Any, names: tuple[str, ...], codes: tuple[Any, ...], family: str
) -> Mapper[Any]:
    codes = codes or (None,) * len(names)
    columns = [Column(name, _coded(code, family)) for name, code in zip(names, codes, strict=True)]
    return mapper_for(row_type, tuple(columns), family)


# Found by what a result tells of itself: to describe its columns anew for each would cost
# more than to map a row.
_kept = lru_cache(_MOST)(_mapper)


def _coded(code: Any, family: str) -> Delivered | None:
    if code is DECODED_JSON:
        return _DECODED
    return delivered_as(code, family) if isinstance(code, int) else None
