"""Reports as text, JSON and annotations; the documentation of rules; suppressions."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.check.report import Report
from sqla_typedpool.check.report_github import as_github
from sqla_typedpool.check.report_json import as_json
from sqla_typedpool.check.report_text import as_text
from sqla_typedpool.check.rule_docs import explain, page, sections
from sqla_typedpool.check.rules import (
    MISSING_COLUMN,
    NEEDLESS_OPTIONAL,
    NULLABLE_COLUMN,
    RULES,
    SELECT_STAR,
    Rule,
    finding,
)
from sqla_typedpool.check.suppressions import Selection, Suppressions, comments_of
from sqla_typedpool.check.terminal import cells, underlined
from sqla_typedpool.errors import CannotRun, Refused
from sqla_typedpool.mapping.dbtypes import postgresql_type
from sqla_typedpool.queries import QueryInfo
from tests.support.check_lab import codes, described, in_file, maybe, never, refused, takes

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"

SOURCE = '''\
"""A small application, with everything in it that people get wrong."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, select

from sqla_typedpool import Executor, Flatten, query

USERS = Table("users", MetaData(), Column("id", Integer), Column("nick", String))


@dataclass
class User:
    id: int
    name: str
    nick: str


@dataclass
class Author:
    id: int
    name: str


@dataclass
class Book:
    title: str
    author: Annotated[Author | None, Flatten("author_")]


@query("SELECT id, nmae, nick FROM users WHERE id = :user_id")
async def get_user(db: Executor, *, user_id: int) -> User:
    raise NotImplementedError


@query(
    """
    SELECT u.id, u.name,\tu.nick,
           '日本語' || u.name AS label
      FROM users u
     WHERE u.born > :since
    """
)
async def recent(db: Executor, *, since: datetime) -> list[User]:
    raise NotImplementedError


@query(
    "SELECT b.title, b.author_id AS author_id, a.name AS author_name "
    "FROM books b LEFT JOIN authors a ON a.id = b.author_id"
)
async def books(db: Executor) -> list[Book]:
    raise NotImplementedError


@query(select(USERS.c.id, USERS.c.nick).where(USERS.c.id == bindparam("user_id")))
async def core(db: Executor, *, user_id: int) -> tuple[int, str]:
    raise NotImplementedError


@query("SELECT mood FROM diary")
async def moods(db: Executor) -> list[Literal["sad", "happy"]]:
    raise NotImplementedError


@query("SELECT count(*) FROM users")  # typedpool: ignore[TP101]
async def count(db: Executor) -> list[int | None]:
    raise NotImplementedError


@query("SELECT id FROM usres WHERE team = :team")
async def members(db: Executor, *, team: int) -> list[int]:
    raise NotImplementedError
'''
NOTE = "nullability is unknown: this role may not use TEMP; next: GRANT TEMP ON DATABASE app"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "app.py"


def report_of(app: Path) -> Report:
    """Return the report on the application above."""
    names = ["get_user", "recent", "books", "core", "moods", "count", "members"]
    infos = {name: in_file(app, SOURCE, name) for name in names}
    mood = postgresql_type("mood", labels=("sad", "ok", "happy"))
    nick = maybe("nick", "text", "users.nick may be NULL")
    user = [never("id", "int8"), never("name", "text"), nick]
    core_sql = "SELECT users.id, users.nick \nFROM users \nWHERE users.id = $1::INTEGER"
    descriptions = {
        "get_user": described(user[0], never("nmae", "text"), nick, takes("user_id", "int8")),
        "recent": described(*user, maybe("label", "text"), takes("since", "date")),
        "books": described(
            never("title", "text"),
            never("author_id", "int8", "b.author_id is NOT NULL"),
            maybe("author_name", "text", "a may be missing (LEFT JOIN)", "a"),
        ),
        "core": described(user[0], nick, takes("user_id", "int4"), sql=core_sql),
        "moods": described(never("mood", mood), notes=(NOTE,)),
        "count": described(never("count", "int8", "count() is never NULL"), notes=(NOTE,)),
    }
    found = [each for name, one in descriptions.items() for each in compare(infos[name], one)]
    gone = Refused('relation "usres" does not exist', position=15, hint="users?", code="42P01")
    found.append(refused(infos["members"], gone))
    kept = Suppressions(infos.values()).apply(found)
    return Report(tuple(kept), len(names), "PostgreSQL 15 at localhost/app", 0.4242)


def a_finding(
    message: str = "wrong", location: Location | None = None, rule: Rule = NULLABLE_COLUMN
) -> Finding:
    return finding(rule, message, location, query="app.get", hint="correct it")


# -------------------------------------------------------------------------- people


def test_the_text_report_is_the_reviewed_one(app: Path) -> None:
    shown = as_text(report_of(app), colour=False, width=90)
    golden = GOLDEN / "report.txt"
    assert shown + "\n" == golden.read_text(encoding="utf-8"), (
        "review it, and write it to tests/check/golden/report.txt"
    )


def test_colours_change_nothing_else(app: Path) -> None:
    report = report_of(app)
    plain, coloured = (as_text(report, colour=on, width=90) for on in (False, True))
    assert "\x1b[" not in plain
    assert "\x1b[1;31merror[TP101]\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain


def test_no_line_of_a_snippet_is_wider_than_the_terminal(app: Path) -> None:
    for width in (40, 60, 90):
        for line in as_text(report_of(app), colour=False, width=width).splitlines():
            if re.match(r"\s*(\d+ )?\|", line):
                assert cells(line) <= width


def test_the_report_without_findings_names_what_was_checked() -> None:
    report = Report((), 12, "snapshots in .sqla_typedpool", 0.1)
    assert report.is_clean
    assert as_text(report, colour=False) == (
        "12 queries checked, no findings (snapshots in .sqla_typedpool, 0.10 s)"
    )


def test_notes_alone_are_clean() -> None:
    note = a_finding(rule=NEEDLESS_OPTIONAL)
    assert Report((note,), 1, "", 0).is_clean
    assert not Report((note, a_finding()), 1, "", 0).is_clean
    assert not Report((a_finding(rule=SELECT_STAR),), 1, "", 0).is_clean


def test_a_finding_in_an_unreadable_file_has_no_source_line(tmp_path: Path) -> None:
    location = Location(tmp_path / "gone.py", 3, 1)
    shown = as_text(Report((a_finding(location=location),), 1, "db", 0), colour=False)
    assert shown.splitlines()[0].endswith("gone.py:3:1: error[TP101] wrong")
    assert "|" not in shown


def test_a_finding_without_a_location_comes_last(tmp_path: Path) -> None:
    findings = (a_finding("nowhere"), a_finding("somewhere", Location(tmp_path / "a.py")))
    shown = as_text(Report(findings, 1, "db", 0), colour=False)
    assert shown.index("somewhere") < shown.index("nowhere")


def test_control_characters_are_not_printed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = '\x1b[31m\x07'\n")
    one = a_finding(location=Location(tmp_path / "a.py", 1, 1))
    shown = as_text(Report((replace(one, reason="\x1b[2Jgone"),), 1, "db", 0), colour=False)
    assert "\x1b" not in shown
    assert "\x07" not in shown


@pytest.mark.parametrize(
    ("line", "column", "length", "carets"),
    [
        ("abc", 2, 1, " ^"),
        ("\tabc", 2, 2, "    ^^"),
        ("日本 a", 4, 1, "     ^"),
        ("日本", 2, 1, "  ^^"),
        ("e\u0301a", 3, 1, " ^"),
        ("abc", 4, 1, "   ^"),
    ],
)
def test_carets_are_below_the_underlined_part(
    line: str, column: int, length: int, carets: str
) -> None:
    assert underlined(line, column, length, 80)[1] == carets


def test_a_long_line_is_cut_around_the_underlined_part() -> None:
    line = f"{'a' * 200} wanted {'b' * 200}"
    shown, carets = underlined(line, 202, 6, 60)
    assert cells(shown) <= 60
    assert shown[carets.index("^") : len(carets)] == "wanted"


# ------------------------------------------------------------------ programs, GitHub


def test_json_contains_every_fact(app: Path) -> None:
    document = json.loads(as_json(report_of(app)))
    assert list(document) == [
        *("version", "clean", "queries", "source", "seconds", "counts", "findings")
    ]
    assert document["version"] == 1
    assert document["clean"] is False
    assert document["counts"]["error"] == sum(
        each["severity"] == "error" for each in document["findings"]
    )
    first = document["findings"][0]
    assert list(first) == [
        *("code", "severity", "title", "message", "reason", "hint", "query", "subject"),
        *("file", "line", "column", "length", "details"),
    ]
    assert (first["file"], first["line"]) == ("app.py", 33)


def test_json_of_a_finding_without_a_location_has_nulls() -> None:
    document = json.loads(as_json(Report((a_finding(),), 1, "db", 0)))
    (only,) = document["findings"]
    assert [only[key] for key in ("file", "line", "column", "length")] == [None] * 4


def test_annotations_are_escaped_for_github(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    location = Location(tmp_path / "a, b:c" / "100%.py", 3, 5, 4)
    one = finding(NULLABLE_COLUMN, "50% of\r\nthem: a, b", location, query="q", hint="x")
    assert as_github(Report((one,), 1, "db", 0)) == (
        "::error file=a%2C b%3Ac/100%25.py,line=3,col=5,endColumn=8,title=TP101 q"
        "::50%25 of%0D%0Athem: a, b%0Anext: x"
    )


def test_annotations_have_three_severities() -> None:
    findings = tuple(
        a_finding(rule=rule) for rule in (NULLABLE_COLUMN, SELECT_STAR, NEEDLESS_OPTIONAL)
    )
    lines = as_github(Report(findings, 1, "db", 0)).splitlines()
    assert sorted(line.split()[0] for line in lines) == ["::error", "::notice", "::warning"]


# -------------------------------------------------------------------------- codes


def test_every_rule_is_explained() -> None:
    for code in RULES:
        text = explain(code.lower())
        assert text.startswith(f"{code}: ")
        assert all(len(line) <= 100 for line in text.splitlines())


def test_an_unknown_code_is_an_error_that_names_similar_ones() -> None:
    with pytest.raises(CannotRun, match=r"TP1O1.*did you mean TP1"):
        explain("TP1O1")
    with pytest.raises(CannotRun, match="TP101-TP1"):
        explain("E501")


def test_a_finding_has_only_severities_of_its_rule() -> None:
    with pytest.raises(ValueError, match="TP102 is never a note"):
        finding(MISSING_COLUMN, "", None, severity=Severity.NOTE)


def test_the_page_of_findings_is_up_to_date() -> None:
    assert (ROOT / "docs" / "reference" / "findings.md").read_text() == page(), (
        'python -c "from sqla_typedpool.check.rule_docs import page; '
        "print(page(), end='')\" > docs/reference/findings.md"
    )


def test_every_example_of_a_rule_is_valid_python() -> None:
    for code, text in sections().items():
        for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            compile(example, code, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


# ------------------------------------------------------------------ what is left out


def test_the_longer_prefix_wins() -> None:
    assert Selection.of().includes("TP107")
    assert not Selection.of(ignore=["TP107"]).includes("TP107")
    assert not Selection.of(select=["TP2"]).includes("TP107")
    assert Selection.of(select=["tp107"], ignore=["TP1xx"]).includes("TP107")
    assert not Selection.of(select=["TP107"], ignore=["TP1xx"]).includes("TP101")
    assert not Selection.of(select=["ALL"], ignore=["TP101, TP112"]).includes("TP112")
    assert not Selection.of(select=["TP101"], ignore=["TP101"]).includes("TP101")


@pytest.mark.parametrize("written", ["TP999", "X", "TP6", "101"])
def test_selecting_an_unknown_code_is_an_error(written: str) -> None:
    with pytest.raises(CannotRun, match=f'"{written}"'):
        Selection.of(select=[written])


def noted(file: Path, decorator: str, after: str = "") -> QueryInfo:
    source = (
        "from sqla_typedpool import Executor, query\n"
        f"{decorator}\n"
        f"async def declared(db: Executor) -> list[int]:{after}\n"
        "    raise NotImplementedError\n"
    )
    return in_file(file, source)


def apply(info: QueryInfo) -> list[str]:
    """Return the findings about a nullable column that remain after suppression."""
    findings = compare(info, described(maybe("a", "int8")))
    return codes(Suppressions([info]).apply(findings))


@pytest.mark.parametrize(
    "decorator",
    [
        '@query("SELECT a FROM t")  # typedpool: ignore[TP101]',
        '@query("SELECT a FROM t")  # typedpool: ignore',
        '@query("SELECT a FROM t")  # typedpool:ignore[ tp1xx ]  because it is so',
        '@query("SELECT a FROM t")  # noqa: X  # typedpool: ignore[TP101]',
        '@query(  # typedpool: ignore[TP101]\n    """\n    SELECT a FROM t\n    """\n)',
        '@query("""\n    SELECT a FROM t\n""")  # typedpool: ignore[TP101]',
        '@query("""\n    SELECT a -- typedpool: ignore[TP101]\n    FROM t\n""")',
        '@query("""\n    SELECT a FROM t\n""",\n)  # typedpool: ignore[TP101]',
    ],
)
def test_a_comment_suppresses_a_finding(tmp_path: Path, decorator: str) -> None:
    assert apply(noted(tmp_path / "one.py", decorator)) == []


@pytest.mark.parametrize(
    ("decorator", "left"),
    [
        ('@query("SELECT a FROM t")', ["TP101 a"]),
        ('@query("SELECT a FROM t")  # typedpool: ignore[TP2]', ["TP101 a", "TP001 TP2"]),
        ('@query("SELECT a FROM t")  # typedpool: ignore[TP101, TP9]', ["TP001 TP9"]),
        ('@query("SELECT a FROM t")  # typedpool: ignore[]', ["TP101 a"]),
        ('# typedpool: ignore\n@query("SELECT a FROM t")', ["TP101 a", "TP001 TP"]),
        ("@query(\"SELECT a FROM t WHERE b = '# typedpool: ignore'\")", ["TP101 a"]),
    ],
)
def test_a_comment_that_suppresses_nothing_is_a_finding(
    tmp_path: Path, decorator: str, left: list[str]
) -> None:
    assert apply(noted(tmp_path / "one.py", decorator)) == left


def test_a_comment_at_a_refused_query_is_not_reported_as_unused(tmp_path: Path) -> None:
    info = noted(tmp_path / "one.py", '@query("SELECT a FROM t")  # typedpool: ignore[TP101]')
    found = [refused(info, Refused("no such table"))]
    assert codes(Suppressions([info]).apply(found)) == ["TP301"]


def test_a_comment_in_an_sql_file_suppresses_findings_on_its_line(tmp_path: Path) -> None:
    (tmp_path / "one.sql").write_text("SELECT a -- typedpool: ignore[TP101]\nFROM t\n")
    info = noted(tmp_path / "one.py", '@query(path="one.sql")')
    assert apply(info) == []
    (tmp_path / "one.sql").write_text("SELECT a\nFROM t -- typedpool: ignore[TP101]\n")
    info = noted(tmp_path / "one.py", '@query(path="one.sql")')
    assert apply(info) == ["TP101 a", "TP001 TP101"]


def test_the_location_of_a_comment_is_the_comment(tmp_path: Path) -> None:
    info = noted(tmp_path / "one.py", '@query("SELECT a FROM t")  # typedpool: ignore[TP2]')
    (comment,) = comments_of(tmp_path / "one.py")
    assert comment.location == Location(info.origin.file, 2, 28, len("# typedpool: ignore[TP2]"))
