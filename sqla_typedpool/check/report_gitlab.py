"""The report as a Code Quality report of GitLab."""

from __future__ import annotations

import json
from typing import Any

from sqla_typedpool.check.fingerprints import fingerprinted
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.report import Report, shown_path

# GitLab's severities are info, minor, major, critical and blocker.
_SEVERITIES = {Severity.ERROR: "major", Severity.WARNING: "minor", Severity.NOTE: "info"}


def as_gitlab(report: Report) -> str:
    """Return a JSON array with one object for each finding.

    GitLab requires a path and a line: a finding about a whole file is on its first line.
    """
    issues = [_issue(each, fingerprint) for each, fingerprint in fingerprinted(report)]
    return json.dumps(issues, indent=2, ensure_ascii=False)


def _issue(each: Finding, fingerprint: str) -> dict[str, Any]:
    location = each.location
    return {
        "description": each.message,
        "check_name": each.code,
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[each.severity],
        "location": {
            "path": "." if location is None else shown_path(location.file),
            "lines": {"begin": 1 if location is None else location.line or 1},
        },
    }
