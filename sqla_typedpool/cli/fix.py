"""`sqla-typedpool check --fix`: show the corrections of annotations, or write them."""

from __future__ import annotations

import argparse

from sqla_typedpool.check.discovery import Discovered
from sqla_typedpool.check.file_changes import write_changes
from sqla_typedpool.check.fixes import Fixes, fixes_for
from sqla_typedpool.check.report import Report
from sqla_typedpool.check.report_formats import TEXT
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.check.terminal import Paint
from sqla_typedpool.errors import CannotRun


def check_options(arguments: argparse.Namespace) -> None:
    """Make sure that the options for corrections fit together.

    :raises CannotRun: they do not.
    """
    if arguments.write and not arguments.fix:
        raise CannotRun("--write writes what --fix corrects; next: add --fix, or drop --write")
    if arguments.fix and arguments.watch:
        raise CannotRun("--fix checks once, --watch again and again; next: drop one of them")
    if arguments.fix and arguments.format != TEXT:
        raise CannotRun(
            f"--fix shows a diff, which --format {arguments.format} does not contain; next: drop "
            "one of them"
        )


def fix(
    report: Report,
    found: Discovered,
    selection: Selection,
    arguments: argparse.Namespace,
    paint: Paint,
) -> Report:
    """Print the corrections for the findings of a report as a diff, and write them if asked to.

    :return: the report on the other findings.
    :raises CannotRun: a file has changed or cannot be written.
    """
    fixes = fixes_for(report, selection, found)
    if arguments.write:
        write_changes(fixes.changes)
    for change in fixes.changes:
        print("\n".join(change.diff(paint)))
    if not arguments.quiet:
        print(_summary(fixes, is_written=arguments.write))
    return fixes.left_after() if arguments.write else fixes.left


def _summary(fixes: Fixes, *, is_written: bool) -> str:
    """Return one line, and an empty line if there is a diff above, or a report below."""
    if not fixes.fixed:
        return "nothing to correct\n" if fixes.left.findings else "nothing to correct"
    findings = "1 finding" if fixes.fixed == 1 else f"{fixes.fixed} findings"
    files = "1 file" if len(fixes.changes) == 1 else f"{len(fixes.changes)} files"
    sentence = (
        f"corrected {findings} in {files}"
        if is_written
        else f"{findings} in {files} can be corrected; to write the changes, add --write"
    )
    return f"\n{sentence}" + ("\n" if fixes.left.findings else "")
