"""What describing a statement has in common on all databases."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import ClassVar, final

from sqlalchemy import Executable
from sqlalchemy.exc import SQLAlchemyError

from sqla_typedpool._sqlalchemy.compiling import CompiledStatement, ResultColumn, compile_statement
from sqla_typedpool.describe.deadline import within
from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.describe.nullability import Nullability
from sqla_typedpool.describe.writes import ColumnWrite
from sqla_typedpool.errors import Refused
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.secrets import mask_secrets
from sqla_typedpool.statement import as_executable

_MAX_SHOWN = 80  # characters of a statement in an error message


@dataclass(frozen=True)
class DatabaseReport:
    """What a database reports about a statement."""

    # With the names and types of the database, not of SQLAlchemy.
    columns: Sequence[ColumnDescription]

    # What the description depends on, in any order. The fingerprint is made of it.
    catalog_facts: Iterable[str]

    # The driver's type code of each column; () if SQLAlchemy does not need it.
    type_codes: Sequence[int] = ()

    # The type of each placeholder; None if the database does not report types.
    parameter_types: Sequence[DbType] | None = None

    notes: tuple[str, ...] = ()

    # See `Description.writes`.
    writes: tuple[ColumnWrite, ...] | None = None


class Describer(ABC):
    """Describes statements on one connection. No statement is executed."""

    # ``"postgresql"``, ``"sqlite"`` or ``"mysql"``.
    family: ClassVar[str]

    # Characters that the database does not accept in SQL.
    _unsendable: ClassVar[str] = "\0"

    def __init__(self, server: str, timeout: float, encoding: str = "utf-8") -> None:
        self.server = server
        """The product and its major version: ``PostgreSQL 15``."""
        self._timeout = timeout
        self._encoding = encoding

    @final
    async def describe(
        self,
        statement: Executable | str,
        *,
        keys: Collection[str] = (),
        never_null: Collection[str] = (),
    ) -> Description:
        """Describe one statement.

        :param statement: SQL text with ``:name`` parameters, or any Core statement.
        :param keys: the names of the parameters that a call passes. They decide which columns
            a bare ``insert(table)`` sets.
        :param never_null: the names of parameters whose values are never None. ``ids[]`` stands
            for the elements of the list ``ids``.
        :raises Refused: the database does not accept the statement.
        :raises DescribeTimeout: there was no answer within the describer's ``timeout``.
        :raises CannotRun: no further statement can be described.
        """
        try:
            compiled = compile_statement(as_executable(statement), self.family, keys)
        except SQLAlchemyError as error:
            raise Refused(
                f"SQLAlchemy cannot compile the statement: {mask_secrets(str(error))}"
            ) from error
        return await self.describe_compiled(compiled, never_null)

    @final
    async def describe_compiled(
        self, compiled: CompiledStatement, never_null: Collection[str] = ()
    ) -> Description:
        """Describe a statement that is already compiled for this family.

        It raises the same errors as ``describe``.
        """
        self._check_characters(compiled.sql)
        report = await within(
            self._timeout,
            f"describe {textwrap.shorten(compiled.sql, _MAX_SHOWN)!r}",
            self._describe(compiled, frozenset(never_null)),
        )
        facts = "\n".join(sorted(report.catalog_facts))
        return Description(
            family=self.family,
            sql=compiled.sql,
            parameters=tuple(_parameters(compiled, report.parameter_types)),
            columns=tuple(_columns(compiled, report)),
            server=self.server,
            fingerprint=sha256(facts.encode()).hexdigest(),
            notes=report.notes,
            writes=report.writes,
        )

    @abstractmethod
    async def _describe(
        self, compiled: CompiledStatement, never_null: frozenset[str]
    ) -> DatabaseReport:
        """Return what the database reports about a compiled statement."""

    def _check_characters(self, sql: str) -> None:
        """Refuse characters on which drivers fail; some lose the connection."""
        position = sql.find(self._unsendable) if self._unsendable else -1
        try:
            sql.encode(self._encoding)
        except UnicodeEncodeError as error:
            position = error.start
        if position >= 0:
            message = f"the character {sql[position]!r} cannot be sent to the database"
            raise Refused(message, position=position)


def described_column(
    name: str, db_type: DbType, null: Nullability, origin: str | None
) -> ColumnDescription:
    """Return the description of a column with this nullability."""
    return ColumnDescription(name, db_type, null.nullable, null.reason, origin, null.missing_with)


def _parameters(
    compiled: CompiledStatement, types: Sequence[DbType] | None
) -> Iterator[ParameterDescription]:
    """Yield each parameter that a call passes, once, however many placeholders it has."""
    placeholders = compiled.placeholders
    known = [None] * len(placeholders) if types is None else types
    seen = set()
    for placeholder, db_type in zip(placeholders, known, strict=False):
        name = placeholder.name
        if placeholder.is_required and name not in seen:
            seen.add(name)
            yield ParameterDescription(
                name, db_type, placeholder.is_expanding, placeholder.is_processed
            )


def _columns(compiled: CompiledStatement, report: DatabaseReport) -> Iterable[ColumnDescription]:
    """Return the columns as SQLAlchemy names and converts them; those of text are unchanged."""
    columns = report.columns
    if len(compiled.columns) != len(columns):
        return columns
    codes: Sequence[int | None] = report.type_codes or [None] * len(columns)
    return map(_as_converted, compiled.columns, columns, codes)


def _as_converted(
    core: ResultColumn, column: ColumnDescription, code: int | None
) -> ColumnDescription:
    column = replace(column, name=core.name)
    if core.is_processed(code):
        column = replace(column, db_type=DbType(column.type, json=core.is_json))
    hook = core.hook
    if column.nullable or hook is None:
        return column
    if hook.returns_none:
        return replace(column, nullable=True, why=f"{hook.name} may return None")
    return replace(column, converted_by=hook.name)
