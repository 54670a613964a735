"""The table of the formats of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqla_typedpool.check.report import Report
from sqla_typedpool.check.report_concise import as_concise
from sqla_typedpool.check.report_github import as_github
from sqla_typedpool.check.report_gitlab import as_gitlab
from sqla_typedpool.check.report_json import as_json
from sqla_typedpool.check.report_sarif import as_sarif
from sqla_typedpool.check.report_text import as_text

TEXT = "text"

# The formats by the values of ``--format``. A report of lines is "" if there are no findings.
FORMATS: Mapping[str, Callable[[Report], str]] = {
    TEXT: lambda report: as_text(report, colour=False),
    "concise": as_concise,
    "json": as_json,
    "github": as_github,
    "gitlab": as_gitlab,
    "sarif": as_sarif,
}
