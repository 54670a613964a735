"""Declared queries as test items. The first item that runs checks all queries at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, make_url

from sqla_typedpool.check.config import Settings, read_settings
from sqla_typedpool.check.database_url import database_url
from sqla_typedpool.check.describing import DatabaseTarget
from sqla_typedpool.check.discovery import Discovered, discover
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.report import Report
from sqla_typedpool.check.report_text import as_text
from sqla_typedpool.check.runner import check_database, check_snapshots
from sqla_typedpool.check.snapshots import Snapshots
from sqla_typedpool.check.suppressions import Selection
from sqla_typedpool.ephemeral.connecting import run_in_thread
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.pytest_plugin.session_database import node_with_schema, session_database
from sqla_typedpool.queries import QueryInfo

# The name of the item for findings that belong to no query.
OTHERS = "other-findings"


def query_items(session: pytest.Session, tests: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return an item for each declared query of the configured modules.

    If the queries cannot be found, return one item that fails with the reason.

    :param tests: the other items of the session.
    """
    node = node_with_schema(session, tests)
    parent = QueryCollector.from_parent(node, name="typedpool", nodeid="typedpool")
    collected = session.ihook.pytest_make_collect_report(collector=parent)
    session.ihook.pytest_collectreport(report=collected)  # so that pytest counts the items
    return list(collected.result)


class QueryCollector(pytest.Collector):
    """The parent of the items. It runs the check that they share."""

    # None = it has not run.
    _outcome: Report | CannotRun | None = None

    def collect(self) -> Iterator[pytest.Item]:
        try:
            queries = self.found.queries
        except CannotRun as error:
            yield QueryItem.from_parent(self, name="check", only=None, error=error)
            return
        # Queries of one name share an item.
        for name, info in {info.name: info for info in queries}.items():
            yield QueryItem.from_parent(self, name=name, only=info, error=None)
        yield QueryItem.from_parent(self, name=OTHERS, only=None, error=None)

    @cached_property
    def found(self) -> Discovered:
        """The queries of the configured modules."""
        modules = self.config.getini("typedpool_modules") or self.settings.modules
        if not modules:
            raise CannotRun(
                "--typedpool-check has no modules to check; next: set typedpool_modules in pytest's"
                " ini-file, or modules in [tool.sqla_typedpool] of pyproject.toml"
            )
        here = Path.cwd()
        os.chdir(self.config.rootpath)  # modules are found there, like settings and snapshots
        try:
            return discover(modules, self.settings.exclude)
        finally:
            os.chdir(here)

    @cached_property
    def settings(self) -> Settings:
        """The settings of the project in pytest's root directory."""
        return read_settings(self.config.rootpath)

    def outcome(self, request: pytest.FixtureRequest) -> Report | CannotRun:
        """Return the report on all queries, or the error that prevented it.

        :param request: of the first item that runs.
        """
        if self._outcome is None:
            self._outcome = self._check(request)
        return self._outcome

    def _check(self, request: pytest.FixtureRequest) -> Report | CannotRun:
        try:
            if (url := self._url()) is not None:
                return self._compared_with(url)
            folder = self.config.getini("typedpool_snapshots") or self.settings.snapshots
            snapshots = Snapshots(self.config.rootpath / folder)
            if snapshots.families() or not self.found.queries:
                return check_snapshots(self.found, snapshots, self._selection)
            with session_database(request) as created:
                return self._compared_with(make_url(created), "the database of the tests")
        except CannotRun as error:
            return error

    def _url(self) -> URL | None:
        """Return the URL of the database to check against, if there is one."""
        given = self.config.getoption("typedpool_database_url")
        if given is not None:
            return database_url(given, "--typedpool-database-url")
        variable = os.environ.get("DATABASE_URL")
        return None if variable is None else database_url(variable, "$DATABASE_URL")

    def _compared_with(self, url: URL, name: str = "") -> Report:
        target = DatabaseTarget(url, name=name, search_path=self.settings.search_path)
        return run_in_thread(lambda: check_database(self.found, target, self._selection))

    @property
    def _selection(self) -> Selection:
        return Selection.of(self.settings.select, self.settings.ignore)


class QueryCheckFailed(Exception):
    """A query has findings, or the check could not be done. The message is the whole report."""


def _no_function() -> None:
    """The function of all items: they run the check instead."""


class QueryItem(pytest.Function):
    """The test of one query, or of the findings that belong to no query.

    It is a function for pytest, since only functions may request fixtures.
    """

    parent: QueryCollector

    def __init__(self, *, only: QueryInfo | None, error: CannotRun | None, **others: Any) -> None:
        others["callobj"] = _no_function
        super().__init__(**others)
        self._info = only
        self._error = error

    def setup(self) -> None:
        """Use no fixtures, also none with autouse: those are for the tests of the project."""

    def runtest(self) -> None:
        outcome = self._error or self.parent.outcome(self._request)
        if isinstance(outcome, CannotRun):
            raise QueryCheckFailed(str(outcome))
        findings = tuple(each for each in outcome.findings if self._is_own(each))
        if any(self._is_failure(each) for each in findings):
            report = replace(outcome, findings=findings, queries=1)
            raise QueryCheckFailed(as_text(report, colour=False))

    def _is_failure(self, finding: Finding) -> bool:
        return finding.severity is not Severity.NOTE or self.parent.settings.strict

    def _is_own(self, finding: Finding) -> bool:
        if self._info is not None:
            return finding.query == self._info.name
        return finding.query not in {info.name for info in self.parent.found.queries}

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, QueryCheckFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        if self._info is None:
            return self.path, 0, self.name
        # Not the name alone: pytest would replace its dots by colons.
        return self._info.origin.file, self._info.origin.line - 1, f"query {self.name}"
