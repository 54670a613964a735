"""A short scene: a declared query is checked by the database, which does not run it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import Executor, TypedPool, query, query_info
from sqla_typedpool.check import CannotRun, describe
from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.report import Report, as_text
from sqla_typedpool.demo.target import DemoError


@dataclass(frozen=True, slots=True)
class Table:
    """A table and where it is kept, by somebody who did not know that most have no tablespace."""

    name: str
    tablespace: str


@query("""
    SELECT t.relname AS name, s.spcname AS tablespace
    FROM pg_class t LEFT JOIN pg_tablespace s ON s.oid = t.reltablespace
    WHERE t.relkind = 'r' ORDER BY t.relname
""")
async def tables(db: Executor) -> list[Table]:
    """Every table."""
    raise NotImplementedError


async def finding(url: URL, width: int) -> str:
    """What the checker says of it: the NULL that nobody thought of."""
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
        raise DemoError("A column that may be NULL was declared str, unseen; please report this.")
    took = time.perf_counter() - began
    report = Report(tuple(findings), 1, description.server, took)
    return as_text(report, colour=False, width=width)
