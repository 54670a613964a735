"""Declared queries as test items: one each, all checked in one go when the first of them runs."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sqla_typedpool.check.config import Settings
from sqla_typedpool.check.database import database_url
from sqla_typedpool.check.describing import DatabaseTarget
from sqla_typedpool.check.discovery import Discovered, discover
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.report import Report, as_text
from sqla_typedpool.check.runner import check_database, check_snapshots
from sqla_typedpool.check.snapshots import Snapshots
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.cli.project import settings
from sqla_typedpool.ephemeral.building import run_apart
from sqla_typedpool.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqla_typedpool.queries import QueryInfo

OTHERS = "other-findings"
"""The item of what belongs to no single query."""


def query_items(session: pytest.Session) -> list[pytest.Item]:
    """An item for each declared query of the configured modules.

    Where they cannot even be found there is one item, which fails with the reason.
    """
    parent = Queries.from_parent(session, name="typedpool", nodeid="typedpool")
    collected = session.ihook.pytest_make_collect_report(collector=parent)
    session.ihook.pytest_collectreport(report=collected)  # so that they are counted
    return list(collected.result)


class Queries(pytest.Collector):
    """What the items hang from, and the one check that they share."""

    def collect(self) -> Iterator[pytest.Item]:
        try:
            queries = self.found.queries
        except CannotRun as error:
            yield QueryItem.from_parent(self, name="check", only=None, error=error)
            return
        for name, info in {info.name: info for info in queries}.items():  # some share a name
            yield QueryItem.from_parent(self, name=name, only=info, error=None)
        yield QueryItem.from_parent(self, name=OTHERS, only=None, error=None)

    @cached_property
    def found(self) -> Discovered:
        """The queries of the configured modules."""
        modules = self.config.getini("typedpool_modules") or self.settings.modules
        if not modules:
            raise CannotRun(
                "--typedpool-check does not know what to check. Next: set typedpool_modules in"
                " pytest's ini-file, or modules in [tool.sqla_typedpool] of pyproject.toml."
            )
        here = Path.cwd()
        os.chdir(self.config.rootpath)  # settings and snapshots are there, so modules are too
        try:
            return discover(modules, self.settings.exclude)
        finally:
            os.chdir(here)

    @cached_property
    def settings(self) -> Settings:
        """What the command would go by, in pytest's root directory."""
        return settings(self.config.rootpath)

    @cached_property
    def outcome(self) -> Report | CannotRun:
        """The report on all queries, made once."""
        url = self.config.getoption("typedpool_database_url") or os.environ.get("DATABASE_URL")
        try:
            selection = Selection.of(self.settings.select, self.settings.ignore)
            if url:
                source = DatabaseTarget(database_url(url))
                return run_apart(lambda: check_database(self.found, source, selection))
            folder = self.config.getini("typedpool_snapshots") or self.settings.snapshots
            snapshots = Snapshots(self.config.rootpath / folder)
            return check_snapshots(self.found, snapshots, selection)
        except CannotRun as error:
            return error


class Found(Exception):
    """A query has findings: the message is the report on them."""


class QueryItem(pytest.Item):
    """One query, or what belongs to none."""

    parent: Queries

    def __init__(self, *, only: QueryInfo | None, error: CannotRun | None, **others: Any) -> None:
        super().__init__(**others)
        self._info = only
        self._error = error

    def runtest(self) -> None:
        outcome = self._error or self.parent.outcome
        if isinstance(outcome, CannotRun):
            raise Found(str(outcome))
        mine = tuple(each for each in outcome.findings if self._is_mine(each))
        if any(self._counts(each) for each in mine):
            raise Found(as_text(replace(outcome, findings=mine, queries=1), colour=False))

    def _counts(self, finding: Finding) -> bool:
        return finding.severity is not Severity.NOTE or self.parent.settings.strict

    def _is_mine(self, finding: Finding) -> bool:
        if self._info is not None:
            return finding.query == self._info.name
        return finding.query not in {info.name for info in self.parent.found.queries}

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, Found):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        if self._info is None:
            return self.path, None, self.name
        # With the very name of the item, pytest would write its dots as colons.
        return self._info.origin.file, self._info.origin.line - 1, f"query {self.name}"
