"""A description as the text of a module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from sqla_typedpool.declarations.code import ClassCode, Definition, FunctionCode
from sqla_typedpool.declarations.names import (
    ANNOTATION_NAMES,
    UniqueNames,
    class_name_of,
    require_name,
    variable_name_of,
)
from sqla_typedpool.declarations.parameters import parameter_types
from sqla_typedpool.declarations.printing import module_text
from sqla_typedpool.declarations.python_types import FieldSource, TypeWriter
from sqla_typedpool.declarations.row_kinds import ROW_KINDS
from sqla_typedpool.declarations.statements import (
    counts_rows,
    name_of_statement,
    refuse_faulty,
)
from sqla_typedpool.describe.model import ColumnDescription, Description
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.plan import Column, mark_of

# The kind of output that is a declared query, not only a row class.
QUERY = "query"
_NO_COMMENTS: Mapping[str, str] = {}
_VOID = "void"


def code_of_row(
    description: Description,
    kind: str,
    name: str | None = None,
    comments: Mapping[str, str] = _NO_COMMENTS,
) -> str:
    """Return a module with a class for the rows of a statement.

    :param kind: a key of `ROW_KINDS`.
    :param name: the name of the class; None = ``Row``.
    :param comments: the comments of columns, by their `ColumnDescription.origin`.
    :raises CannotRun: no class can have these columns, or this name.

    Example::

        print(code_of_row(description, "dataclass", "User"))
    """
    if not description.columns:
        raise CannotRun("the statement returns no rows; next: use --as query, or add RETURNING")
    class_name = require_name("Row" if name is None else name)
    types = _writer(description, kind, class_name)
    row = _row_class(description, types, class_name, comments)
    definitions: list[Definition] = [*types.enums, *types.classes, row]
    return module_text(types.imports, definitions, ROW_KINDS[kind])


def code_of_query(
    description: Description,
    sql: str,
    name: str | None = None,
    comments: Mapping[str, str] = _NO_COMMENTS,
    optional: Collection[str] = (),
) -> str:
    """Return a module with a declared query, and a dataclass for its rows if it needs one.

    :param sql: the text of the statement, with ``:name`` parameters.
    :param name: the name of the function; None = one that is made from the statement.
    :param comments: the comments of columns, by their `ColumnDescription.origin`.
    :param optional: the parameters that may be None. The statement has been described with all
        others as never None.
    :raises CannotRun: the statement cannot be declared as it is, or there is no such name.
    """
    refuse_faulty(description, sql)
    function = _function_name(description, sql) if name is None else require_name(name)
    class_name = UniqueNames({*ANNOTATION_NAMES, function}).unique(
        f"{class_name_of(function, 'Query')}Row"
    )
    types = _writer(description, "dataclass", class_name, function)
    parameters = _parameters(description, types, set(optional))
    rows: list[ClassCode] = []
    if len(description.columns) > 1:
        rows = [_row_class(description, types, class_name, comments)]
    returns = f"list[{class_name}]" if rows else _returned_value(description, sql, types)
    types.use("sqla_typedpool", "query")
    ignored = "TP108" if any(map(_is_trusted, description.columns)) else ""
    code = FunctionCode(function, sql, parameters, returns, ignored)
    definitions: list[Definition] = [*types.enums, *types.classes, *rows, code]
    return module_text(types.imports, definitions, ROW_KINDS["dataclass"])


def _parameters(
    description: Description, types: TypeWriter, optional: set[str]
) -> tuple[tuple[str, str], ...]:
    """Return the names and annotations of the function's parameters: first the executor."""
    parameters = tuple(parameter_types(description, types, optional))
    executor = UniqueNames(name for name, _ in parameters).unique("db")
    return (executor, types.use("sqla_typedpool", "Executor")), *parameters


def _function_name(description: Description, sql: str) -> str:
    name = variable_name_of(name_of_statement(description, sql), "run")
    return UniqueNames(ANNOTATION_NAMES).unique(name, "_")


def _returned_value(description: Description, sql: str, types: TypeWriter) -> str:
    """Return what a query of one column or of none returns."""
    if not description.columns:
        return types.use("sqla_typedpool", "RowCount") if counts_rows(sql) else "None"
    (column,) = description.columns
    if column.type == _VOID:
        return "None"
    annotation = types.annotation(column.db_type, _label(column))
    text = types.text(annotation.optional() if _may_be_none(column) else annotation)
    # a class as the type of a row would be made from several columns
    return f"list[tuple[{text}]]" if column.db_type.fields else f"list[{text}]"


# ------------------------------------------------------------------------ the columns


def _writer(description: Description, kind: str, *taken: str) -> TypeWriter:
    labels = list(map(_label, description.columns))
    _refuse_duplicates(labels)
    inner = (name for each in description.columns for name in _fields_in(each.db_type))
    types = TypeWriter(ROW_KINDS[kind], {*labels, *inner}, taken)
    for column in description.columns:
        types.note_nullable_fields(column.db_type, column.nullable_fields)
    return types


def _fields_in(db_type: DbType) -> Iterator[str]:
    """Yield the names of the fields of a composite type, and of those inside it."""
    for part in (db_type.element, *(each for _, each in db_type.fields)):
        if part is not None:
            yield from _fields_in(part)
    yield from (name for name, _ in db_type.fields)


def _refuse_duplicates(labels: list[str]) -> None:
    for label, count in Counter(labels).items():
        if count > 1:
            positions = [str(number) for number, each in enumerate(labels, 1) if each == label]
            raise CannotRun(
                f'{count} columns are named "{label}" (columns {", ".join(positions)}); next: give '
                "each of them its own name with AS"
            )


def _row_class(
    description: Description, types: TypeWriter, name: str, comments: Mapping[str, str]
) -> ClassCode:
    return types.class_of(name, list(_sources(description, comments)))


def _sources(description: Description, comments: Mapping[str, str]) -> Iterator[FieldSource]:
    for column in description.columns:
        doc = comments.get(column.origin or "", "").strip()
        yield FieldSource(_label(column), column.db_type, _may_be_none(column), doc)


def _label(column: ColumnDescription) -> str:
    return Column(column.name).label


def _may_be_none(column: ColumnDescription) -> bool:
    mark = mark_of(column.name)
    return mark == "?" or (column.nullable and mark != "!")


def _is_trusted(column: ColumnDescription) -> bool:
    """Return whether a `!` declares that a column is never NULL, which `check` notes as TP108."""
    return column.nullable and mark_of(column.name) == "!"
