"""The rules of the checker, one constant each.

A code is stable: the code of a retired rule is never used for another rule. ``findings.md``
explains each rule.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.errors import CannotRun


@dataclass(frozen=True)
class Rule:
    """Something that the checker looks for."""

    code: str
    title: str

    # The severities that a finding of this rule can have. The first is the usual one.
    severities: tuple[Severity, ...]


_ERROR, _WARNING, _NOTE = (Severity.ERROR,), (Severity.WARNING,), (Severity.NOTE,)

# declarations
UNUSED_SUPPRESSION = Rule("TP001", "an ignore comment that suppresses nothing", _WARNING)
UNDECLARED_SQL = Rule("TP002", "SQL that is not checked", _NOTE)
DYNAMIC_SQL = Rule("TP003", "the SQL of a declared query is built at run time", _WARNING)
UNUSED_NAME = Rule("TP004", "a named query of a .sql file is not used", _NOTE)
NAME_SUFFIX = Rule("TP005", "the suffix of a named query contradicts the function", _NOTE)

# columns
NULLABLE_COLUMN = Rule(
    "TP101", "a column may be NULL, but its field cannot be None", _ERROR + _NOTE
)
MISSING_COLUMN = Rule("TP102", "a field has no column", _ERROR)
EXTRA_COLUMN = Rule("TP103", "a column has no field", _ERROR)
DUPLICATE_COLUMN = Rule("TP104", "two columns have the same name", _ERROR)
IMPOSSIBLE_COLUMN = Rule("TP105", "the type of a column does not fit its field", _ERROR)
COLUMN_COUNT = Rule(
    "TP106", "the number of columns does not fit the tuple or the single value", _ERROR
)
NEEDLESS_OPTIONAL = Rule("TP107", "a field can be None, but its column is never NULL", _NOTE)
TRUSTED_COLUMN = Rule("TP108", "the checker trusts a `!`", _NOTE)
NEEDLESS_MARK = Rule("TP109", "a `!` or `?` that is not needed", _NOTE)
AMBIGUOUS_FLATTEN = Rule(
    "TP110", "the columns do not show whether an optional Flatten() object exists", _ERROR
)
ENUM_LABELS = Rule(
    "TP111", "an Enum or Literal differs from the database's enum", _ERROR + _WARNING
)
SELECT_STAR = Rule("TP112", "SELECT *", _WARNING)

# parameters
PARAMETER_TYPE = Rule("TP201", "a parameter has the wrong type", _ERROR)
UNKNOWN_PARAMETER_TYPE = Rule(
    "TP202", "the database cannot infer the type of a parameter", _ERROR + _WARNING
)
NULL_COMPARISON = Rule("TP203", "a comparison with a parameter that can be None", _NOTE)
UNSUPPORTED_VALUE = Rule("TP204", "the driver needs a SQLAlchemy type for a parameter", _ERROR)
LIST_AFTER_IN = Rule("TP205", "a list after IN on PostgreSQL", _NOTE + _ERROR)

# statements
REFUSED_STATEMENT = Rule("TP301", "the database refuses the statement", _ERROR)
ROWS_MISMATCH = Rule(
    "TP302", "the statement returns rows and the function does not, or the reverse", _ERROR
)
WRONG_DECLARATION = Rule("TP303", "the declaration is wrong", _ERROR)
INCOMPLETE_DESCRIPTION = Rule("TP304", "something could not be described or compared", _NOTE)

# snapshots
MISSING_SNAPSHOT = Rule("TP401", "a query has no snapshot", _ERROR)
STALE_SNAPSHOT = Rule("TP402", "a snapshot is out of date", _ERROR)
DAMAGED_SNAPSHOT = Rule("TP403", "a snapshot is damaged", _ERROR)
UNUSED_SNAPSHOT = Rule("TP404", "no query uses a snapshot", _WARNING)

# writes
FORBIDDEN_NULL = Rule("TP501", "a NOT NULL column gets no value", _ERROR)
NULL_PARAMETER = Rule("TP502", "a parameter that can be None goes into a NOT NULL column", _ERROR)
NULL_EXPRESSION = Rule(
    "TP503", "an expression that may be NULL goes into a NOT NULL column", _WARNING
)
WIDER_PARAMETER = Rule("TP504", "a parameter can have values that its column cannot store", _NOTE)

# All rules by their codes, in the order of the codes.
RULES: Mapping[str, Rule] = {
    value.code: value for value in list(globals().values()) if isinstance(value, Rule)
}


def finding(
    rule: Rule,
    message: str,
    location: Location | None,
    *,
    query: str | None = None,
    severity: Severity | None = None,
    reason: str = "",
    hint: str = "",
    subject: str = "",
    column: int | None = None,
    details: Mapping[str, str] | None = None,
) -> Finding:
    """Return a finding of a rule.

    :param severity: None takes the usual severity of the rule.
    :param column: the position of the column in the result, from 0.
    """
    if severity is not None and severity not in rule.severities:
        raise ValueError(f"{rule.code} is never a {severity.value}")
    given, facts = severity or rule.severities[0], dict(details or {})
    return Finding(
        rule.code, given, message, location, query, reason, hint, subject, column, details=facts
    )


def rule_of(code: str) -> Rule:
    """Return the rule with this code, in upper or lower case.

    :raises CannotRun: there is no such rule; the message names similar codes.
    """
    rule = RULES.get(code.strip().upper())
    if rule is None:
        raise CannotRun(unknown_code(code))
    return rule


def unknown_code(code: str) -> str:
    """Return the message for a code that does not exist."""
    similar = difflib.get_close_matches(code.strip().upper(), RULES, n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"next: use one of {_ranges()}"
    return f'no rule has the code "{code}"; {hint}'


def _ranges() -> str:
    last = {code[:3]: code for code in RULES}
    return ", ".join(f"{group}01-{code}" for group, code in last.items())
