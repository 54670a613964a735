"""Compare declared queries with their descriptions.

The comparison needs no database. It uses the row types, coercions and plans of the run-time
mapper, so the checker and the mapper always agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqla_typedpool.check import rules
from sqla_typedpool.check.casts import cast_for_message, is_unknown_type
from sqla_typedpool.check.core_types import with_core_types
from sqla_typedpool.check.locations import (
    location_in_sql,
    location_of_column,
    location_of_line,
    location_of_output,
    location_of_query,
    offset_as_written,
    sent_column,
    sent_span,
    token_length,
)
from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.check.named_queries import contradicted_suffix
from sqla_typedpool.check.null_checks import null_findings
from sqla_typedpool.check.parameters import compare_parameters
from sqla_typedpool.check.row_checks import discarded_rows, missing_rows
from sqla_typedpool.check.rules import finding
from sqla_typedpool.check.syntax_hints import syntax_hint
from sqla_typedpool.check.type_checks import uncompared
from sqla_typedpool.check.write_checks import write_findings
from sqla_typedpool.describe.families import FAMILIES
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import DeclarationError, Refused, RowShapeError
from sqla_typedpool.mapping.plan import Column, partial_plan
from sqla_typedpool.mapping.shape_error import ShapeIssue, ShapeIssueKind
from sqla_typedpool.queries import Cardinality, QueryInfo
from sqla_typedpool.tokens import stars

_RULES = {
    ShapeIssueKind.COUNT: rules.COLUMN_COUNT,
    ShapeIssueKind.MISSING: rules.MISSING_COLUMN,
    ShapeIssueKind.EXTRA: rules.EXTRA_COLUMN,
    ShapeIssueKind.DUPLICATE: rules.DUPLICATE_COLUMN,
    ShapeIssueKind.IMPOSSIBLE: rules.IMPOSSIBLE_COLUMN,
    ShapeIssueKind.AMBIGUOUS: rules.AMBIGUOUS_FLATTEN,
    ShapeIssueKind.ROW_TYPE: rules.WRONG_DECLARATION,
}


def compare(info: QueryInfo, description: Description) -> list[Finding]:
    """Return what is wrong with the declaration of a query.

    :param description: of the query's statement, from a database or from a snapshot.
    """
    findings = list(_stars(info, description))
    for part in (_compare_rows, compare_parameters, write_findings, _suffix):
        try:
            findings += part(info, description)
        except DeclarationError as error:
            findings += misdeclared(info, error)
    return [*findings, *_notes(info, description)]


def _suffix(info: QueryInfo, _: Description) -> Iterator[Finding]:
    return contradicted_suffix(info)


def misdeclared(info: QueryInfo, error: DeclarationError | RowShapeError) -> list[Finding]:
    """Return a finding for each fault of a declaration that cannot be compared."""
    location = location_of_query(info)
    return [
        _with_hint(rules.WRONG_DECLARATION, fault, location, info.name) for fault in error.faults
    ]


def faulty_declarations(errors: Iterable[DeclarationError]) -> Iterator[Finding]:
    """Yield a finding for each fault of declarations that the decorator did not accept."""
    for error in errors:
        location = location_of_line(error.file, error.line)
        for fault in error.faults:
            yield _with_hint(rules.WRONG_DECLARATION, fault, location, error.query)


def _with_hint(rule: rules.Rule, sentence: str, location: Location, query: str) -> Finding:
    """Return a finding for a sentence that may end with "; next: <hint>"."""
    message, _, hint = sentence.partition("; next: ")
    return finding(rule, message, location, query=query, hint=hint)


def _stars(info: QueryInfo, description: Description) -> Iterator[Finding]:
    names = ", ".join(column.name for column in description.columns)
    for start, end in stars(info.sql) if info.is_text else ():
        yield finding(
            rules.SELECT_STAR,
            "`*` selects columns that later migrations add",
            location_in_sql(info, start, end - start),
            query=info.name,
            hint=f"write the names of the columns that you need; now there are: {names}",
        )


def _notes(info: QueryInfo, description: Description) -> Iterator[Finding]:
    location = location_of_query(info)
    for note in description.notes:
        yield _with_hint(rules.INCOMPLETE_DESCRIPTION, note, location, info.name)


# --------------------------------------------------------------------------- rows


def _compare_rows(info: QueryInfo, description: Description) -> Iterator[Finding]:
    if info.cardinality in (Cardinality.COUNT, Cardinality.NOTHING):
        yield from discarded_rows(info, description)
    elif not description.columns:
        yield missing_rows(info, description)
    else:
        yield from _compare_columns(info, description)


def _compare_columns(info: QueryInfo, described: Description) -> Iterator[Finding]:
    description = with_core_types(info, described)
    columns = tuple(Column(each.name, each.db_type) for each in description.columns)
    try:
        plan = partial_plan(info.row_type, columns, description.family)
    except RowShapeError as error:
        yield from misdeclared(info, error)
        return
    for issue in plan.issues:
        yield _shape_finding(info, description, issue)
    if any(issue.kind is ShapeIssueKind.COUNT for issue in plan.issues):
        return  # which column belongs to which type is not known
    impossible = {
        position
        for issue in plan.issues
        if issue.kind is ShapeIssueKind.IMPOSSIBLE
        for position in issue.columns
    }
    yield from null_findings(info, description, plan, impossible)
    yield from uncompared(info, description, plan, impossible)


def _shape_finding(info: QueryInfo, description: Description, issue: ShapeIssue) -> Finding:
    return finding(
        _RULES[issue.kind],
        issue.message,
        _location_of_issue(info, description, issue),
        query=info.name,
        reason=issue.reason,
        hint=issue.hint,
        subject=_subject(description, issue),
        column=issue.columns[0] if issue.columns else None,
        details=_details_of_issue(info, description, issue),
    )


def _details_of_issue(
    info: QueryInfo, description: Description, issue: ShapeIssue
) -> dict[str, str]:
    if info.is_text:
        return {}
    if not issue.columns:
        return {"sql": description.sql}
    return sent_column(description.sql, issue.columns[0], len(description.columns))


def _location_of_issue(info: QueryInfo, description: Description, issue: ShapeIssue) -> Location:
    if issue.kind is ShapeIssueKind.ROW_TYPE:
        return location_of_query(info)
    if not issue.columns:
        return location_of_output(info)
    first_wrong = 1 if issue.kind is ShapeIssueKind.DUPLICATE else 0
    return location_of_column(info, issue.columns[first_wrong], len(description.columns))


def _subject(description: Description, issue: ShapeIssue) -> str:
    return description.columns[issue.columns[0]].name if issue.columns else issue.subject


# ------------------------------------------------------------- refused statements


def refused(info: QueryInfo, error: Refused, family: str, sql: str) -> Finding:
    """Return the finding for a statement that the database refuses.

    :param sql: the SQL as it was sent. The position of the error refers to it.
    """
    has_unknown_type = is_unknown_type(error, has_parameters=bool(info.binds))
    location = _location_in_sent(info, sql, error.position)
    details = {} if error.code is None else {"sqlstate": error.code}
    hint = error.hint
    if has_unknown_type and not hint:
        hint = cast_for_message(info, error.message, family)
    elif info.is_text and not hint:
        hint = syntax_hint(info.sql, are_expanded=bool(info.lists))
    if location is None:
        details["sql"] = sql
        if error.position is not None:
            details |= sent_span(error.position, token_length(sql, error.position))
    return finding(
        rules.UNKNOWN_PARAMETER_TYPE if has_unknown_type else rules.REFUSED_STATEMENT,
        f"{FAMILIES[family].label} refuses the statement: {error.message}",
        location or location_of_query(info),
        query=info.name,
        severity=Severity.ERROR,
        hint=hint,
        details=details,
    )


def _location_in_sent(info: QueryInfo, sql: str, offset: int | None) -> Location | None:
    """Return the place in a file that an offset of the sent SQL stands for, if there is one."""
    if offset is None or not info.is_text:
        return None
    written = offset_as_written(info.sql, sql, offset)
    if written is None:
        return None
    return location_in_sql(info, written, token_length(info.sql, written))
