"""A declared query x what a database says of it -> findings. Pure: nothing is asked or run.

Targets, rules and plan are those of the run-time mapper, so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from sqla_typedpool._sqlalchemy.compiling import compile_statement
from sqla_typedpool.check.locations import (
    offset_as_written,
    place_in_sql,
    place_of_column,
    place_of_output,
    place_of_query,
    sent_column,
    sent_span,
    word_at,
)
from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.check.null_checks import null_findings
from sqla_typedpool.check.parameters import compare_parameters
from sqla_typedpool.check.rules import finding
from sqla_typedpool.describe.families import FAMILIES
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import DeclarationError, Refused, RowShapeError
from sqla_typedpool.mapping.plan import Column, partial_plan
from sqla_typedpool.mapping.shape_error import ShapeIssue, ShapeIssueKind
from sqla_typedpool.queries import Cardinality, QueryInfo
from sqla_typedpool.tokens import stars

_FAULTS = {
    ShapeIssueKind.COUNT: "TP106",
    ShapeIssueKind.MISSING: "TP102",
    ShapeIssueKind.EXTRA: "TP103",
    ShapeIssueKind.DUPLICATE: "TP104",
    ShapeIssueKind.IMPOSSIBLE: "TP105",
    ShapeIssueKind.AMBIGUOUS: "TP110",
    ShapeIssueKind.ROW_TYPE: "TP303",
}
# What PostgreSQL says when nothing tells a parameter's type: 42P18 indeterminate_datatype,
# 42P08 ambiguous_parameter.
_UNKNOWN_PARAMETER = ("42P18", "42P08")


def compare(info: QueryInfo, description: Description) -> list[Finding]:
    """What is wrong with a query's declaration, in the order of the SQL.

    :param description: of the same statement, by a database or from a snapshot.
    """
    found = list(_stars(info, description))
    for part in (_compare_rows, compare_parameters):
        try:
            found += part(info, description)
        except DeclarationError as error:
            found += misdeclared(info, error)
    return [*found, *_notes(info, description)]


def misdeclared(info: QueryInfo, error: DeclarationError | RowShapeError) -> list[Finding]:
    """A declaration that nothing can be compared with."""
    place = place_of_query(info)
    return [finding("TP303", fault, place, query=info.name) for fault in error.faults]


def _stars(info: QueryInfo, description: Description) -> Iterator[Finding]:
    names = ", ".join(column.name for column in description.columns)
    for start, end in stars(info.sql) if info.is_text else ():
        yield finding(
            "TP112",
            "`*` is whatever columns there are on the day",
            place_in_sql(info, start, end - start),
            query=info.name,
            hint=f"name what is wanted of: {names}",
        )


def _notes(info: QueryInfo, description: Description) -> Iterator[Finding]:
    for note in description.notes:
        message, _, hint = note.partition("; next: ")
        yield finding("TP304", message, place_of_query(info), query=info.name, hint=hint)


# ------------------------------------------------------------------------ rows


def _compare_rows(info: QueryInfo, description: Description) -> Iterator[Finding]:
    if info.cardinality in (Cardinality.COUNT, Cardinality.NOTHING):
        yield from _unwanted_rows(info, description)
    elif not description.columns:
        yield finding(
            "TP302",
            f"the statement returns no rows, and {_name(info)}() is declared to return some",
            place_of_query(info),
            query=info.name,
            hint="add RETURNING, or declare -> None or -> RowCount",
        )
    else:
        yield from _compare_columns(info, description)


def _unwanted_rows(info: QueryInfo, description: Description) -> Iterator[Finding]:
    if description.columns:
        names = ", ".join(f'"{column.name}"' for column in description.columns)
        returned = "None" if info.cardinality is Cardinality.NOTHING else "RowCount"
        yield finding(
            "TP302",
            f"the statement returns rows ({names}), and {_name(info)}() -> {returned} drops them",
            place_of_output(info),
            query=info.name,
            hint="declare what it returns, or select nothing: no RETURNING",
        )


def _name(info: QueryInfo) -> str:
    return info.name.rpartition(".")[2]


def _compare_columns(info: QueryInfo, description: Description) -> Iterator[Finding]:
    columns = tuple(Column(each.name, each.db_type) for each in description.columns)
    try:
        draft = partial_plan(info.row_type, columns, description.family)
    except RowShapeError as error:
        yield from misdeclared(info, error)
        return
    for fault in draft.issues:
        yield _of_fault(info, description, fault)
    impossible = {
        place
        for fault in draft.issues
        if fault.kind is ShapeIssueKind.IMPOSSIBLE
        for place in fault.columns
    }
    yield from null_findings(info, description, draft, impossible)


def _of_fault(info: QueryInfo, description: Description, fault: ShapeIssue) -> Finding:
    return finding(
        _FAULTS[fault.kind],
        fault.message,
        _place_of_fault(info, description, fault),
        query=info.name,
        reason=fault.reason,
        hint=fault.hint,
        subject=_subject(description, fault),
        details=_details_of_fault(info, description, fault),
    )


def _details_of_fault(
    info: QueryInfo, description: Description, fault: ShapeIssue
) -> dict[str, str]:
    if info.is_text:
        return {}
    if not fault.columns:
        return {"sql": description.sql}
    return sent_column(description.sql, fault.columns[0], len(description.columns))


def _place_of_fault(info: QueryInfo, description: Description, fault: ShapeIssue) -> Location:
    if fault.kind is ShapeIssueKind.ROW_TYPE:
        return place_of_query(info)
    if not fault.columns:
        return place_of_output(info)
    first_wrong = 1 if fault.kind is ShapeIssueKind.DUPLICATE else 0
    return place_of_column(info, fault.columns[first_wrong], len(description.columns))


def _subject(description: Description, fault: ShapeIssue) -> str:
    return description.columns[fault.columns[0]].name if fault.columns else fault.subject


# --------------------------------------------------------------------- refused


def refused(info: QueryInfo, error: Refused, family: str = "postgresql") -> Finding:
    """A statement that the database does not accept.

    :param family: whose placeholders the sent SQL has, which the position refers to.
    """
    code = "TP202" if error.code in _UNKNOWN_PARAMETER else "TP301"
    as_sent = _as_sent(info, family)
    place = _place_in_sent(info, as_sent, error.position)
    details = {} if error.code is None else {"sqlstate": error.code}
    if place is None:
        details |= {"sql": as_sent} | _sent_word(as_sent, error.position)
    hint = "say what it is: CAST(:name AS integer)" if code == "TP202" else ""
    return finding(
        code,
        f"{FAMILIES[family].label} refuses it: {error.message}",
        place or place_of_query(info),
        query=info.name,
        severity=Severity.ERROR,
        hint=error.hint or hint,
        details=details,
    )


def _as_sent(info: QueryInfo, family: str) -> str:
    try:
        return compile_statement(info.statement, family, info.bind_names).sql
    except SQLAlchemyError:  # it was refused before it was sent
        return info.sql


def _sent_word(as_sent: str, offset: int | None) -> dict[str, str]:
    return {} if offset is None else sent_span(offset, word_at(as_sent, offset))


def _place_in_sent(info: QueryInfo, as_sent: str, offset: int | None) -> Location | None:
    """Where an offset of the sent text stands in a file; None = nowhere."""
    if offset is None or not info.is_text:
        return None
    written = offset_as_written(info.sql, as_sent, offset)
    if written is None:
        return None
    return place_in_sql(info, written, word_at(info.sql, written))
