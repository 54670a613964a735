"""The report of a check as text, as JSON and as annotations for GitHub."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.check.rules import INCOMPLETE_DESCRIPTION, RULES
from sqla_typedpool.check.terminal import Paint, sent_lines, snippet, wrapped

_JSON_VERSION = 1


@dataclass(frozen=True)
class Report:
    """The result of a check."""

    findings: tuple[Finding, ...]

    # The number of queries that were checked, including faulty declarations.
    queries: int

    # What they were compared with: ``PostgreSQL 15 at host/db``, ``snapshots in ...``.
    source: str

    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether there are neither errors nor warnings."""
        return all(each.severity is Severity.NOTE for each in self.findings)


def _in_order(findings: tuple[Finding, ...]) -> list[Finding]:
    """Sort by file, line and column; findings without a location come last."""
    return sorted(findings, key=_position)


def _position(each: Finding) -> tuple[Any, ...]:
    location = each.location
    if location is None:
        return True, "", 0, 0, each.code
    return False, str(location.file), location.line or 0, location.column or 0, each.code


def shown_path(file: Path) -> str:
    """Return a path relative to the working directory, if it is below that directory."""
    try:
        return file.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return file.as_posix()


def counted(findings: tuple[Finding, ...]) -> dict[Severity, int]:
    """Return the number of findings of each severity."""
    found = Counter(each.severity for each in findings)
    return {severity: found[severity] for severity in Severity}


# ---------------------------------------------------------------------------- text


def as_text(report: Report, *, colour: bool, width: int = 100) -> str:
    """Return the report for a terminal: each finding with its source line, reason and hint.

    :param width: of the terminal, in cells.
    """
    paint, width = Paint(colour), max(width, 40)
    blocks = [
        "\n".join(_block(each, others, paint, width))
        for each, others in _merged(_in_order(report.findings))
    ]
    return "\n\n".join([*blocks, "\n".join(_closing(report, paint))])


def _merged(findings: list[Finding]) -> list[tuple[Finding, int]]:
    """Show a finding about the whole server once, with the number of the other queries."""
    counts = Counter(_key(each) for each in findings)
    shown: dict[Any, Finding] = {}
    for each in findings:
        shown.setdefault(_key(each), each)
    return [(each, counts[key] - 1) for key, each in shown.items()]


def _key(each: Finding) -> Any:
    is_of_server = each.code == INCOMPLETE_DESCRIPTION.code
    return (each.code, each.message, each.hint) if is_of_server else id(each)


def _block(each: Finding, others: int, paint: Paint, width: int) -> Iterator[str]:
    location, label = each.location, f"{each.severity.value}[{each.code}]"
    where = "" if location is None else f"{paint('strong', shown_location(location))}: "
    yield f"{where}{paint(each.severity, label)} {each.message}"
    indent = 1
    if location is not None:
        indent = len(str(location.line or "")) + 1
        yield from snippet(location, each.severity, paint, width)
    for name, sentence in (("because", each.reason), ("next", each.hint)):
        if sentence:
            yield from wrapped(name, sentence, indent, paint, width)
    if each.query:
        more = f" (and {_counted(others, 'more query', 'more queries')})" if others else ""
        yield from wrapped("query", each.query + more, indent, paint, width)
    if sql := each.details.get("sql"):
        yield from wrapped("sent", "", indent, paint, width)
        yield from sent_lines(sql, *_span(each), each.severity, paint, width)


def _span(each: Finding) -> tuple[int | None, int]:
    offset = each.details.get("offset")
    return None if offset is None else int(offset), int(each.details.get("length", 1))


def shown_location(location: Location) -> str:
    """Return a location as ``app/users.py:14:12``."""
    parts = [shown_path(location.file), location.line, location.column]
    return ":".join(str(part) for part in parts if part is not None)


def _closing(report: Report, paint: Paint) -> Iterator[str]:
    queries = _counted(report.queries, "query", "queries")
    source = f"{report.source}, {report.seconds:.2f} s"
    if not report.findings:
        yield f"{queries} checked, no findings ({source})"
        return
    counts = [
        paint(severity, _counted(number, severity.value, f"{severity.value}s"))
        for severity, number in counted(report.findings).items()
        if number
    ]
    *first, last = counts
    yield f"{' and '.join([', '.join(first), last]) if first else last} in {queries} ({source})"
    worst = min(report.findings, key=lambda each: list(Severity).index(each.severity))
    yield f"for an explanation: sqla-typedpool check --explain {worst.code}"


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


# ---------------------------------------------------------------------------- JSON


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
        "counts": {severity.value: n for severity, n in counted(report.findings).items()},
        "findings": [_as_object(each) for each in _in_order(report.findings)],
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


# -------------------------------------------------------------------------- GitHub

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def as_github(report: Report) -> str:
    """Return one GitHub Actions annotation per line; "" if there are no findings."""
    return "\n".join(_annotation(each) for each in _in_order(report.findings))


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
    return f"::{_COMMANDS[each.severity]} {listed}::{_in_message(_sentences(each))}"


def _sentences(each: Finding) -> str:
    lines = [each.message]
    if each.reason:
        lines.append(f"because: {each.reason}")
    if each.hint:
        lines.append(f"next: {each.hint}")
    return "\n".join(lines)


def _in_message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _in_property(text: str) -> str:
    return _in_message(text).replace(":", "%3A").replace(",", "%2C")
