"""A finding about one parameter of a query."""

from __future__ import annotations

from collections.abc import Mapping

from sqla_typedpool.check.locations import location_of_bind
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.rules import Rule, finding
from sqla_typedpool.queries import QueryInfo


def parameter_finding(
    info: QueryInfo,
    name: str,
    rule: Rule,
    message: str,
    reason: str = "",
    hint: str = "",
    severity: Severity | None = None,
    details: Mapping[str, str] | None = None,
) -> Finding:
    """Return a finding that is located at the parameter in the SQL.

    :param name: the name of the parameter.
    """
    return finding(
        rule,
        message,
        location_of_bind(info, name),
        query=info.name,
        severity=severity,
        reason=reason,
        hint=hint,
        subject=name,
        details=details or {},
    )
