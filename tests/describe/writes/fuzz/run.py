"""Random statements, described and executed for some time."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from sqla_typedpool.check import CannotRun, Description, Refused
from sqla_typedpool.embedded import Postgres
from tests.describe.execution import connect
from tests.describe.soundness.shrink import shrink
from tests.describe.writes.execution import Describe, WritesDatabase, Written, describer_in
from tests.describe.writes.fuzz.statements import WriteStatement, random_write
from tests.describe.writes.fuzz.tables import PRELUDE, Target, random_tables
from tests.describe.writes.judged import NOT_NULL_VIOLATION
from tests.describe.writes.verdict import findings, is_certain

DATABASE = "writes_fuzz"
TABLES = 24
BATCH = 250
"""How many statements write to the tables of one seed."""


@dataclass(frozen=True)
class Trial:
    """One statement, described and executed."""

    statement: WriteStatement
    found: frozenset[str] | None
    """The findings; None if the statement was refused."""

    refusal: str
    with_none: Written
    """What happened with each Optional parameter bound to None."""

    wrong: tuple[str, ...] = ()
    """Findings that the execution contradicts."""

    @property
    def failures(self) -> list[str]:
        """What is wrong with the description."""
        if self.found is None:
            return [] if self.with_none.error else [f"wrongly refused: {self.refusal}"]
        return list(self.wrong)

    @property
    def violates(self) -> bool:
        """Whether NULL was refused."""
        return self.with_none.code in NOT_NULL_VIOLATION["postgresql"]


@dataclass
class Figures:
    """The counts of one kind of statement."""

    statements: int = 0
    succeeded: int = 0
    wrote_nothing: int = 0
    violations: int = 0
    """Statements that failed with 23502."""

    plain: int = 0
    """Those of them without triggers, rules and views."""

    certain: int = 0
    """Those of `plain` for which TP501 or TP502 is found."""

    reported: int = 0
    """Those of `plain` for which anything is found."""

    other_errors: int = 0
    warned: int = 0
    """Statements that succeeded although TP503 is found."""

    def add(self, trial: Trial) -> None:
        """Count one statement."""
        self.statements += 1
        written, found = trial.with_none, trial.found or frozenset()
        self.succeeded += not written.error
        self.wrote_nothing += not written.error and written.rows == 0
        self.violations += trial.violates
        self.other_errors += bool(written.error) and not trial.violates
        self.warned += not written.error and bool(found)
        if trial.violates and trial.statement.is_plain:
            self.plain += 1
            self.certain += is_certain(found)
            self.reported += bool(found)

    def line(self, kind: str) -> str:
        """Return one line of the table of figures."""
        numbers = (self.statements, self.succeeded, self.violations, self.other_errors, self.plain)
        shares = (_percent(each, self.plain) for each in (self.certain, self.reported))
        text = "".join(f"{number:>9}" for number in numbers)
        return (
            f"{kind:<18}{text}" + "".join(f"{share:>9}" for share in shares) + f"{self.warned:>9}"
        )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


@dataclass
class WriteFuzzReport:
    """What a run of the fuzzer found."""

    kinds: dict[str, Figures] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Statements that failed with 23502, without triggers, rules and views, and nothing found."""

    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def total(self) -> Figures:
        """The sum of all kinds."""
        found = Figures()
        for each in self.kinds.values():
            for name, number in vars(each).items():
                setattr(found, name, getattr(found, name) + number)
        return found

    def add(self, trial: Trial) -> None:
        """Count one statement."""
        self.kinds.setdefault(trial.statement.kind, Figures()).add(trial)
        if trial.violates and trial.statement.is_plain and not trial.found:
            self.missed.append(f"{trial.with_none.error.splitlines()[0]}: {trial.statement.sql}")
        if trial.with_none.error and not trial.violates:
            self.errors[f"{trial.with_none.code} {trial.with_none.error.splitlines()[0]}"] += 1

    def __str__(self) -> str:
        heads = [
            "statements",
            "succeed",
            "23502",
            "other",
            "plain",
            "certain",
            "reported",
            "warned",
        ]
        lines = [f"{'kind':<17}" + "".join(f"{head[:8]:>9}" for head in heads)]
        lines += [self.kinds[kind].line(kind) for kind in sorted(self.kinds)]
        lines.append(self.total.line("total"))
        lines.append(f"{len(self.failures)} wrong descriptions; {self.seconds:.1f} s")
        return "\n".join(lines)


class Fuzzer:
    """Describes and executes statements in one database."""

    def __init__(
        self,
        database: WritesDatabase,
        describe: Describe,
        change: Callable[[Description], Description],
        shrink_seconds: float,
    ) -> None:
        self.database = database
        self._describe = describe
        self._change = change
        self.shrink_seconds = shrink_seconds

    async def check(self, statement: WriteStatement) -> Trial:
        """Describe and execute one statement."""
        found, refusal = None, ""
        try:
            described = await self._describe(statement.sql, statement.never_null)
            found = findings(self._change(described), statement.never_null)
        except (Refused, CannotRun) as error:
            refusal = f"{type(error).__name__}: {error}"
        with_none = await self._run(statement, statement.optional)
        trial = Trial(statement, found, refusal, with_none)
        return replace(trial, wrong=tuple([each async for each in self._wrong(trial)]))

    async def _wrong(self, trial: Trial) -> AsyncIterator[str]:
        """Yield the findings that the execution contradicts.

        Each parameter of TP502 is bound to None alone, because another finding may be the reason
        why the statement fails. With other parameters bound to None it may write no row.
        """
        found, statement = trial.found or frozenset(), trial.statement
        if is_certain(found) and not trial.with_none.error and trial.with_none.rows:
            yield "a certain finding, and it succeeds with None"
        if any(each.startswith("TP501") for each in found):
            written = await self._run(statement, frozenset())
            if not written.error:
                yield f"TP501, and it succeeds with values{_and_writes(written)}"
            return
        for name in sorted({each.split()[1] for each in found if each.startswith("TP502")}):
            written = await self._run(statement, frozenset({name}))
            if not written.error:
                yield f"TP502 {name}, and it succeeds with None{_and_writes(written)}"

    async def _run(self, statement: WriteStatement, nulls: frozenset[str]) -> Written:
        values = statement.values | dict.fromkeys(nulls)
        return await self.database.run(statement.sql, values)


def _and_writes(written: Written) -> str:
    return " and writes a row" if written.rows else " and writes nothing"


async def fuzz_writes(
    server: Postgres,
    seed: int,
    *,
    seconds: float,
    statements: int,
    change: Callable[[Description], Description] = lambda found: found,
    shrink_seconds: float = 10.0,
    log: Callable[[str], None] = lambda _: None,
) -> WriteFuzzReport:
    """Check random statements until the time has passed or the number is reached.

    :param change: changes each description, to test the fuzzer.
    :param shrink_seconds: the time in which a failing statement is shortened.
    :param log: receives each failure when it is found.
    """
    report, start = WriteFuzzReport(), time.monotonic()
    number = 0
    async with _database(server) as database:
        while number < statements and time.monotonic() < start + seconds:
            batch = f"{seed}:{number // BATCH}"
            targets = await _create(database, batch)
            async with describer_in(server, DATABASE) as describe:
                fuzzer = Fuzzer(database, describe, change, shrink_seconds)
                for at in range(min(BATCH, statements - number)):
                    if time.monotonic() > start + seconds:
                        break
                    statement = random_write(f"{batch}:{at}", targets, database.major)
                    await _check_one(f"{batch}:{at}", statement, fuzzer, report, log)
                    number += 1
    report.seconds = time.monotonic() - start
    return report


async def _check_one(
    seed: str,
    statement: WriteStatement,
    fuzzer: Fuzzer,
    report: WriteFuzzReport,
    log: Callable[[str], None],
) -> None:
    trial = await fuzzer.check(statement)
    report.add(trial)
    if trial.failures:
        report.failures.append(await _failure(seed, trial, fuzzer))
        log(report.failures[-1])


async def _failure(seed: str, trial: Trial, fuzzer: Fuzzer) -> str:
    """Return the seed, what is wrong, a shortened statement and its tables, as text."""
    given = trial.statement

    async def fails_alike(sql: str) -> bool:
        shortened = replace(given, sql=sql)
        try:
            again = await fuzzer.check(shortened)
        except KeyError:  # a parameter whose name was cut
            return False
        return bool(again.failures) and again.wrong == trial.wrong

    sql = await shrink(given.sql, fails_alike, fuzzer.shrink_seconds)
    again = await fuzzer.check(replace(given, sql=sql))
    lines = [f"seed {seed}, PostgreSQL {fuzzer.database.major}, {given.kind}"]
    lines += again.failures or trial.failures
    lines += [
        f"found: {sorted(again.found or ())}",
        sql,
        f"parameters {given.values}, Optional: {sorted(given.optional)}",
    ]
    lines += [f"from: {given.sql}", *(line for each in given.targets for line in each.ddl)]
    return "\n  ".join(lines)


@contextlib.asynccontextmanager
async def _database(server: Postgres) -> AsyncIterator[WritesDatabase]:
    home = await connect(server, "postgres")
    try:
        await home.execute(f"drop database if exists {DATABASE} with (force)")
        await home.execute(f"create database {DATABASE}")
        await home.execute(f"alter database {DATABASE} set search_path = fuzz")
    finally:
        await home.close(timeout=5)
    connection = await connect(server, DATABASE)
    try:
        yield WritesDatabase(connection, frozenset())
    finally:
        await connection.close(timeout=5)


async def _create(database: WritesDatabase, seed: str) -> list[Target]:
    targets = random_tables(seed, database.major, TABLES)
    await database.connection.execute(PRELUDE)
    for target in targets:
        for statement in target.ddl:
            await database.connection.execute(statement)
    return targets
