"""What was found, for people, for programs and for GitHub."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.check.rules import CODES
from sqla_typedpool.check.terminal import Paint, sent_lines, snippet, wrapped

_JSON_VERSION = 1


@dataclass(frozen=True)
class Report:
    """The result of a run."""

    findings: tuple[Finding, ...]
    queries: int
    """How many were checked."""

    source: str
    """Against what: ``PostgreSQL 15 at host/db``, ``snapshots in .sqla_typedpool``."""

    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether there is no error and no warning."""
        return all(each.severity is Severity.NOTE for each in self.findings)


def _in_order(findings: tuple[Finding, ...]) -> list[Finding]:
    """By file, line and column; what has no place comes last."""
    return sorted(findings, key=_position)


def _position(each: Finding) -> tuple[Any, ...]:
    place = each.place
    if place is None:
        return True, "", 0, 0, each.code
    return False, str(place.file), place.line or 0, place.column or 0, each.code


def shown_path(file: Path) -> str:
    """Relative to the working directory, where it lies below it."""
    try:
        return file.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return file.as_posix()


def counted(findings: tuple[Finding, ...]) -> dict[Severity, int]:
    """How many there are of each severity."""
    found = Counter(each.severity for each in findings)
    return {severity: found[severity] for severity in Severity}


# -------------------------------------------------------------------------- people


def as_text(report: Report, *, colour: bool, width: int = 100) -> str:
    """For a terminal: each finding with its source line, reason and next step.

    :param width: of the terminal, in cells.
    """
    paint, width = Paint(colour), max(width, 40)
    blocks = [
        "\n".join(_block(each, others, paint, width))
        for each, others in _merged(_in_order(report.findings))
    ]
    return "\n\n".join([*blocks, "\n".join(_closing(report, paint))])


def _merged(findings: list[Finding]) -> list[tuple[Finding, int]]:
    """What is true of the whole server is said once, with the number of further queries."""
    alike = Counter(_common(each) for each in findings)
    shown: dict[Any, Finding] = {}
    for each in findings:
        shown.setdefault(_common(each), each)
    return [(each, alike[key] - 1) for key, each in shown.items()]


def _common(each: Finding) -> Any:
    return (each.code, each.message, each.hint) if each.code == "TP304" else id(each)


def _block(each: Finding, others: int, paint: Paint, width: int) -> Iterator[str]:
    place, label = each.place, f"{each.severity.value}[{each.code}]"
    where = "" if place is None else f"{paint('strong', shown_place(place))}: "
    yield f"{where}{paint(each.severity, label)} {each.message}"
    indent = 1
    if place is not None:
        indent = len(str(place.line or "")) + 1
        yield from snippet(place, each.severity, paint, width)
    for name, sentence in (("because", each.reason), ("next", each.hint)):
        if sentence:
            yield from wrapped(name, sentence, indent, paint, width)
    if each.query:
        more = f" (and {_numbered(others, 'more query', 'more queries')})" if others else ""
        yield from wrapped("query", each.query + more, indent, paint, width)
    if sql := each.details.get("sql"):
        yield from wrapped("sent", "", indent, paint, width)
        yield from sent_lines(sql, *_span(each), each.severity, paint, width)


def _span(each: Finding) -> tuple[int | None, int]:
    offset = each.details.get("offset")
    return None if offset is None else int(offset), int(each.details.get("length", 1))


def shown_place(place: Location) -> str:
    """``app/users.py:14:12``."""
    parts = [shown_path(place.file), place.line, place.column]
    return ":".join(str(part) for part in parts if part is not None)


def _closing(report: Report, paint: Paint) -> Iterator[str]:
    queries = _numbered(report.queries, "query", "queries")
    against = f"{report.source}, {report.seconds:.2f} s"
    if not report.findings:
        yield f"{queries} checked, nothing found ({against})"
        return
    counts = counted(report.findings)
    told = [
        paint(severity, _numbered(number, severity.value, f"{severity.value}s"))
        for severity, number in counts.items()
        if number
    ]
    *most, last = told
    yield f"{' and '.join([', '.join(most), last]) if most else last} in {queries} ({against})"
    worst = min(report.findings, key=lambda each: list(Severity).index(each.severity))
    yield f"explained by: sqla-typedpool check --explain {worst.code}"


def _numbered(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


# ------------------------------------------------------------------------ programs


def as_json(report: Report) -> str:
    """One object. Keys are only ever added; a change of meaning changes ``version``.

    ``line`` and ``column`` count from 1; ``file``, ``line``, ``column``, ``length`` and
    ``query`` may be null.
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
    place = each.place
    return {
        "code": each.code,
        "severity": each.severity.value,
        "title": CODES[each.code].title,
        "message": each.message,
        "reason": each.reason,
        "hint": each.hint,
        "query": each.query,
        "subject": each.subject,
        "file": None if place is None else shown_path(place.file),
        "line": None if place is None else place.line,
        "column": None if place is None else place.column,
        "length": None if place is None or place.column is None else place.length,
        "details": each.details,
    }


# -------------------------------------------------------------------------- GitHub

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def as_github(report: Report) -> str:
    """Annotations for GitHub Actions, a line each; "" when there is nothing to say."""
    return "\n".join(_annotation(each) for each in _in_order(report.findings))


def _annotation(each: Finding) -> str:
    properties: dict[str, object] = {}
    place = each.place
    if place is not None:
        properties["file"] = shown_path(place.file)
        if place.line is not None:
            properties["line"] = place.line
        if place.column is not None:
            properties["col"] = place.column
            properties["endColumn"] = place.column + max(place.length, 1) - 1
    properties["title"] = f"{each.code} {each.query or ''}".strip()
    listed = ",".join(f"{key}={_in_property(str(value))}" for key, value in properties.items())
    return f"::{_COMMANDS[each.severity]} {listed}::{_in_message(_told(each))}"


def _told(each: Finding) -> str:
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
