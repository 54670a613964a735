"""A short example: the database describes a declared query, and the checker finds an error."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from examples.demo.database import DemoError
from sqla_typedpool import Executor, TypedPool, query, query_info
from sqla_typedpool.check import CannotRun, describe
from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.report import Report
from sqla_typedpool.check.report_text import as_text


@dataclass(frozen=True, slots=True)
class Table:
    """A table and its tablespace. The type is wrong: most tables have no tablespace."""

    name: str
    tablespace: str


@query("""
    SELECT t.relname AS name, s.spcname AS tablespace
    FROM pg_class t LEFT JOIN pg_tablespace s ON s.oid = t.reltablespace
    WHERE t.relkind = 'r' ORDER BY t.relname
""")
async def tables(db: Executor) -> list[Table]:
    """All tables of the database."""
    raise NotImplementedError


async def finding(url: URL, width: int) -> str:
    """Check `tables` on a database and return the checker's report.

    :param width: the longest line of the report, in characters.
    """
    began = time.perf_counter()
    engine = create_async_engine(url, poolclass=TypedPool)
    try:
        info = query_info(tables)
        description = await describe(engine, info.statement)
    except CannotRun as error:
        raise DemoError(str(error)) from error
    finally:
        await engine.dispose()
    findings = compare(info, description)
    if not findings:
        raise DemoError("the checker did not find the column that may be NULL; please report this")
    took = time.perf_counter() - began
    report = Report(tuple(findings), 1, description.server, took)
    return as_text(report, colour=False, width=width)
