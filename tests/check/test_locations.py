"""The locations of findings, for every way to write the SQL."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from sqla_typedpool._sqlalchemy.compiling import compile_statement
from sqla_typedpool.check.locations import (
    location_in_sql,
    location_of_bind,
    location_of_column,
    location_of_output,
    location_of_query,
    offset_as_written,
)
from sqla_typedpool.check.model import Location
from sqla_typedpool.check.source_files import Position, positions_in_literal
from sqla_typedpool.errors import Refused
from tests.support.check_lab import in_file, refused

HEAD = "import textwrap\nfrom sqla_typedpool import Executor, query\nfrom sqlalchemy import *\n"
TAIL = "\nasync def declared(db: Executor, *, x: int = 1) -> list[tuple[int, ...]]:\n    raise NotImplementedError\n"  # noqa: E501


def declared(folder: Path, decorator: str) -> Any:
    return in_file(folder / "queries.py", f"{HEAD}{textwrap.dedent(decorator).strip()}{TAIL}")


def underlined(location: Location) -> str:
    """Return the underlined text."""
    assert location.line is not None
    assert location.column is not None
    line = location.file.read_text(encoding="utf-8-sig").split("\n")[location.line - 1]
    return line[location.column - 1 : location.column - 1 + location.length]


WRITTEN = {
    "plain": '@query("SELECT a, wanted, :x FROM t")',
    "single quotes": "@query('SELECT a, wanted, :x FROM t')",
    "raw": '@query(r"SELECT a, wanted, :x FROM t")',
    "a name": 'SQL = "SELECT a, wanted, :x FROM t"\n@query(SQL)',
    "a keyword": '@query(statement="SELECT a, wanted, :x FROM t", timeout=5)',
    "text()": '@query(text("SELECT a, wanted, :x FROM t"))',
    "triple quotes": '@query("""\n    SELECT a,\n      wanted,\n      :x\n    FROM t\n    """)',
    "dedent": '@query(textwrap.dedent("""\\\n    SELECT a,\n      wanted, :x FROM t\n    """))',
    "strip": '@query("""\n    SELECT a, wanted, :x\n    FROM t\n    """.strip())',
    "side by side": '@query(\n    "SELECT a, "\n    "wanted, :x "  # a comment\n    \'FROM t\'\n)',
    "added": '@query("SELECT a, " + "wanted, :x " + "FROM t")',
    "cut in the middle": '@query("SELECT a, wanted, :x "\n    "FROM t")',
    "escapes": "@query(\"SELECT \\x61 || '\\u65e5\\t\\N{BULLET}\\101', wanted, :x FROM t\")",
    "unknown escapes": "@query(r\"SELECT '\\d', wanted, :x FROM t\")",
    "raw escapes": "@query(r\"SELECT '\\x61\\n', wanted, :x FROM t\")",
    "behind wide characters": '@query(dict(日本="SELECT a, wanted, :x FROM t")["日本"])',
    "a line that goes on": '@query("SELECT a, \\\n  wanted, :x FROM t")',
    "wide characters": "@query(\"SELECT '日本語' AS c, wanted, :x FROM t\")",
    "after the same text": 'SAME = "SELECT a, wanted, :x FROM t"\n'
    '@query("SELECT a, wanted, :x FROM t")',
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN.keys())
def test_columns_and_parameters_are_located_in_python_files(tmp_path: Path, written: str) -> None:
    info = declared(tmp_path, written)
    location = location_of_column(info, 1, 3)
    assert underlined(location) == "wanted"
    assert underlined(location_of_bind(info, "x")) == ":x"
    if "@query(SQL)" not in written:
        assert location.line is not None
        assert location.line >= info.origin.line


def test_sql_that_is_not_in_a_literal_is_located_at_the_decorator(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query(" ".join(["SELECT a, wanted, :x", "FROM t"]))')
    for location in (
        location_of_column(info, 1, 3),
        location_of_bind(info, "x"),
        location_of_output(info),
    ):
        assert location == location_of_query(info)
        assert underlined(location).startswith("@query(")


def test_a_core_statement_is_located_at_the_decorator(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query(select(column("a")).where(column("b") == bindparam("x")))')
    for location in (
        location_of_column(info, 0, 1),
        location_of_bind(info, "x"),
        location_of_output(info),
    ):
        assert location == location_of_query(info)


def test_the_location_of_an_indented_decorator_begins_after_the_indentation(tmp_path: Path) -> None:
    source = (
        "from sqla_typedpool import Executor, query\n"
        "class Repo:\n"
        '    @query("SELECT 1")  # why\n'
        "    async def one(self, db: Executor) -> int:\n"
        "        raise NotImplementedError\n"
        "declared = Repo.one\n"
    )
    location = location_of_query(in_file(tmp_path / "repo.py", source))
    assert underlined(location) == '@query("SELECT 1")'
    assert (location.line, location.column) == (3, 5)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_columns_are_located_in_an_sql_file(tmp_path: Path, newline: str, mark: str) -> None:
    sql = f"{mark}-- what it is for\nSELECT a,\n       wanted, -- why\n       :x\nFROM t\n"
    (tmp_path / "wanted.sql").write_bytes(sql.replace("\n", newline).encode())
    info = declared(tmp_path, '@query(path="wanted.sql")')
    location = location_of_column(info, 1, 3)
    assert location.file == tmp_path / "wanted.sql"
    assert (location.line, location.column, location.length) == (3, 8, 6)
    assert location_of_bind(info, "x").line == 4


def test_a_file_that_was_removed_is_still_named(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT a, :x FROM t")')
    info.origin.file.unlink()
    assert location_of_column(info, 0, 2) == Location(info.origin.file, info.origin.line)


@pytest.mark.parametrize(
    ("items", "pointed"),
    [
        ("a, *, z", ["a", "*", "*", "z"]),
        ("*", ["*", "*", "*", "*"]),
        ("t.*, z", ["t.*", "t.*", "t.*", "z"]),
        ("a, b, c, f(d, e)", ["a", "b", "c", "f(d, e)"]),
    ],
)
def test_a_star_is_the_location_of_the_columns_it_stands_for(
    tmp_path: Path, items: str, pointed: list[str]
) -> None:
    info = declared(tmp_path, f'@query("SELECT {items} FROM t WHERE x = :x")')
    assert [underlined(location_of_column(info, place, 4)) for place in range(4)] == pointed


def test_columns_whose_expression_is_unknown_are_located_at_the_decorator(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT t.*, u.* FROM t, u WHERE x = :x")')
    assert location_of_column(info, 2, 4) == location_of_query(info)
    info = declared(tmp_path, '@query("SELECT a, b FROM t WHERE x = :x")')
    assert location_of_column(info, 2, 3) == location_of_query(info)


def test_only_the_first_line_of_an_expression_is_underlined(
    tmp_path: Path,
) -> None:
    info = declared(tmp_path, '@query("""SELECT f(a,\n     b), :x FROM t""")')
    assert underlined(location_of_column(info, 0, 2)) == "f(a,"


# -------------------------------------------------------------- from the sent text


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t WHERE b = :x AND wanted = :yy AND c = :x",
        "SELECT :x, :yy, wanted",
        "SELECT (:x), 'a\\:b', wanted::text, :yy::int",
        "SELECT :x || :yy || wanted",
        "SELECT '100%' LIKE :x, wanted % 2",
        "SELECT E'a\\n' || :x, wanted",
        ":x + :yy + :x + wanted",
    ],
)
def test_an_offset_in_the_sent_sql_is_converted_to_one_in_the_written_sql(sql: str) -> None:
    as_sent = compile_statement(text(sql), "postgresql").sql
    assert "$1" in as_sent
    offset = offset_as_written(sql, as_sent, as_sent.index("wanted"))
    assert offset is not None
    assert sql[offset:].startswith("wanted")
    bind = offset_as_written(sql, as_sent, as_sent.index("$1"))
    assert bind == sql.index(":x")
    if "$2" in as_sent:
        assert offset_as_written(sql, as_sent, as_sent.index("$2")) == sql.index(":yy")


def test_texts_that_do_not_match_have_no_offset() -> None:
    assert offset_as_written("SELECT a FROM t", "SELECT b FROM t", 7) is None


def test_the_location_of_a_refused_statement_is_the_token_in_the_file(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT a FROM t WHERE :x = b AND nmae = 1")')
    as_sent = compile_statement(info.statement, "postgresql").sql
    found = refused(info, Refused("no such column", position=as_sent.index("nmae")))
    assert found.location is not None
    assert underlined(found.location) == "nmae"


def test_an_error_at_the_end_of_the_sql_is_located_at_its_last_character(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT a FROM t WHERE :x = (b ")')
    as_sent = compile_statement(info.statement, "postgresql").sql
    found = refused(info, Refused("syntax error at end of input", position=len(as_sent)))
    assert found.location is not None
    assert underlined(found.location) == "b"


def test_a_refused_statement_without_a_position_shows_the_sent_sql(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT a FROM t WHERE b = :x")')
    found = refused(info, Refused("permission denied for table t"))
    assert found.location == location_of_query(info)
    assert found.details["sql"] == "SELECT a FROM t WHERE b = $1"


# ------------------------------------------------------------------------- literals


@given(
    value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1)
)
def test_every_character_of_a_literal_has_its_position(
    value: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("literals") / "one.py"
    file.write_text(f"x = 1\nsql = {value!r}\n", encoding="utf-8", newline="\n")
    positions = positions_in_literal(file, 1, value)
    if not value.split():
        assert positions is None
        return
    assert positions is not None
    assert len(positions) == len(value)
    line = file.read_text(encoding="utf-8").split("\n")[1]
    for character, position in zip(value, positions, strict=True):
        if character.isascii() and character.isalnum():
            assert line[position.column - 1] == character
    assert positions == sorted(positions)


def test_an_offset_outside_the_sql_is_moved_to_its_end(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT :x")')
    assert location_in_sql(info, 999).column == location_in_sql(info, len("SELECT :x") - 1).column
    assert Position(1, 2) < Position(2, 1)
