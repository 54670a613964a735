"""The report as one JSON object."""

from __future__ import annotations

import json
from typing import Any

from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.report import Report, shown_path
from sqla_typedpool.check.rules import RULES

_JSON_VERSION = 1


def as_json(report: Report) -> str:
    """Return the report as a JSON object.

    New versions can add keys. If the meaning of a key changes, ``version`` changes. ``line`` and
    ``column`` are counted from 1; ``file``, ``line``, ``column``, ``length`` and ``query`` can
    be null.
    """
    document = {
        "version": _JSON_VERSION,
        "clean": report.is_clean,
        "queries": report.queries,
        "source": report.source,
        "seconds": round(report.seconds, 3),
        "counts": {severity.value: n for severity, n in report.counts.items()},
        "findings": [_as_object(each) for each in report.in_order()],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _as_object(each: Finding) -> dict[str, Any]:
    location = each.location
    return {
        "code": each.code,
        "severity": each.severity.value,
        "title": RULES[each.code].title,
        "message": each.message,
        "reason": each.reason,
        "hint": each.hint,
        "query": each.query,
        "subject": each.subject,
        "file": None if location is None else shown_path(location.file),
        "line": None if location is None else location.line,
        "column": None if location is None else location.column,
        "length": None if location is None or location.column is None else location.length,
        "details": each.details,
    }
