"""The report as annotations for GitHub Actions."""

from __future__ import annotations

from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.report import Report, sentences_of, shown_path

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def as_github(report: Report) -> str:
    """Return one GitHub Actions annotation per line; "" if there are no findings."""
    return "\n".join(_annotation(each) for each in report.in_order())


def _annotation(each: Finding) -> str:
    properties: dict[str, object] = {}
    location = each.location
    if location is not None:
        properties["file"] = shown_path(location.file)
        if location.line is not None:
            properties["line"] = location.line
        if location.column is not None:
            properties["col"] = location.column
            properties["endColumn"] = location.column + max(location.length, 1) - 1
    properties["title"] = f"{each.code} {each.query or ''}".strip()
    listed = ",".join(f"{key}={_in_property(str(value))}" for key, value in properties.items())
    return f"::{_COMMANDS[each.severity]} {listed}::{_in_message(sentences_of(each))}"


def _in_message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _in_property(text: str) -> str:
    return _in_message(text).replace(":", "%3A").replace(",", "%2C")
