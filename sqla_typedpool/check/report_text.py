"""The report as text for people: source lines, reasons, hints and colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.report import Report, shown_location
from sqla_typedpool.check.rules import INCOMPLETE_DESCRIPTION
from sqla_typedpool.check.terminal import Paint, sent_lines, snippet, wrapped


def as_text(report: Report, *, colour: bool, width: int = 100) -> str:
    """Return the report for a terminal: each finding with its source line, reason and hint.

    :param width: of the terminal, in cells.
    """
    paint, width = Paint(colour), max(width, 40)
    blocks = [
        "\n".join(_block(each, others, paint, width)) for each, others in _merged(report.in_order())
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
    if each.not_fixed:
        yield from wrapped("not fixed", each.not_fixed, indent, paint, width)
    if each.query:
        more = f" (and {_counted(others, 'more query', 'more queries')})" if others else ""
        yield from wrapped("query", each.query + more, indent, paint, width)
    if sql := each.details.get("sql"):
        yield from wrapped("sent", "", indent, paint, width)
        yield from sent_lines(sql, *_span(each), each.severity, paint, width)


def _span(each: Finding) -> tuple[int | None, int]:
    offset = each.details.get("offset")
    return None if offset is None else int(offset), int(each.details.get("length", 1))


def _closing(report: Report, paint: Paint) -> Iterator[str]:
    queries = _counted(report.queries, "query", "queries")
    source = f"{report.source}, {report.seconds:.2f} s"
    if not report.findings:
        yield f"{queries} checked, no findings ({source})"
        return
    counts = [
        paint(severity, _counted(number, severity.value, f"{severity.value}s"))
        for severity, number in report.counts.items()
        if number
    ]
    *first, last = counts
    yield f"{' and '.join([', '.join(first), last]) if first else last} in {queries} ({source})"
    worst = min(report.findings, key=lambda each: list(Severity).index(each.severity))
    yield f"for an explanation: sqla-typedpool check --explain {worst.code}"


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
