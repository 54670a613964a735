"""The notes, in a new database for each test."""

import asyncio
from typing import Any

import pytest
from notes import AuthorReport, NoteBase, authors, main, report, titles, write


def test_a_report_counts_what_a_session_has_written(typedpool_database: Any) -> None:
    async def run() -> None:
        engine = typedpool_database.engine()
        await write(engine, "Ada", NoteBase(title="a", text="long"), NoteBase(title="b"))
        assert await titles(engine, "Ada") == ["a", "b"]
        ada = AuthorReport(author="Ada", notes=2, longest="a")
        assert await authors(engine) == [ada]
        assert await report(engine) == [ada, AuthorReport(author="Eve", notes=1, longest="a draft")]
        assert await authors(engine) == [ada]
        await engine.dispose()

    asyncio.run(run())


def test_the_program_prints_the_report(
    typedpool_database: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(main(typedpool_database.url))
    printed = capsys.readouterr().out
    assert "titles of Ada: ['Engines', 'Poetry']" in printed
    assert printed.endswith(
        "without it:\n  author='Ada' notes=2 longest='Engines'\n"
        "  author='Bob' notes=1 longest='Lunch'\n"
    )
