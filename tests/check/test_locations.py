"""Findings point at the character that is meant, however the SQL is written down."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from sqla_typedpool._sqlalchemy.compiling import compile_statement
from sqla_typedpool.check.compare import refused
from sqla_typedpool.check.locations import (
    offset_as_written,
    place_in_sql,
    place_of_bind,
    place_of_column,
    place_of_output,
    place_of_query,
)
from sqla_typedpool.check.model import Location
from sqla_typedpool.check.source_files import Spot, spots_of_literal
from sqla_typedpool.errors import Refused
from tests.support.check_lab import in_file

HEAD = "import textwrap\nfrom sqla_typedpool import Executor, query\nfrom sqlalchemy import *\n"
TAIL = "\nasync def declared(db: Executor, *, x: int = 1) -> list[tuple[int, ...]]:\n    raise NotImplementedError\n"  # noqa: E501


def declared(folder: Path, decorator: str) -> Any:
    return in_file(folder / "queries.py", f"{HEAD}{textwrap.dedent(decorator).strip()}{TAIL}")


def pointed_at(place: Location) -> str:
    """What is underlined."""
    assert place.line is not None
    assert place.column is not None
    line = place.file.read_text(encoding="utf-8-sig").split("\n")[place.line - 1]
    return line[place.column - 1 : place.column - 1 + place.length]


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
def test_columns_and_binds_are_found_in_python(tmp_path: Path, written: str) -> None:
    info = declared(tmp_path, written)
    place = place_of_column(info, 1, 3)
    assert pointed_at(place) == "wanted"
    assert pointed_at(place_of_bind(info, "x")) == ":x"
    if "@query(SQL)" not in written:
        assert place.line is not None
        assert place.line >= info.origin.line


def test_what_is_put_together_elsewhere_is_found_at_the_decorator(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query(" ".join(["SELECT a, wanted, :x", "FROM t"]))')
    for place in (place_of_column(info, 1, 3), place_of_bind(info, "x"), place_of_output(info)):
        assert place == place_of_query(info)
        assert pointed_at(place).startswith("@query(")


def test_a_core_statement_is_found_at_the_decorator(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query(select(column("a")).where(column("b") == bindparam("x")))')
    for place in (place_of_column(info, 0, 1), place_of_bind(info, "x"), place_of_output(info)):
        assert place == place_of_query(info)


def test_a_decorator_in_a_class_is_found_at_its_indent(tmp_path: Path) -> None:
    source = (
        "from sqla_typedpool import Executor, query\n"
        "class Repo:\n"
        '    @query("SELECT 1")  # why\n'
        "    async def one(self, db: Executor) -> int:\n"
        "        raise NotImplementedError\n"
        "declared = Repo.one\n"
    )
    place = place_of_query(in_file(tmp_path / "repo.py", source))
    assert pointed_at(place) == '@query("SELECT 1")'
    assert (place.line, place.column) == (3, 5)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_columns_are_found_in_an_sql_file(tmp_path: Path, newline: str, mark: str) -> None:
    sql = f"{mark}-- what it is for\nSELECT a,\n       wanted, -- why\n       :x\nFROM t\n"
    (tmp_path / "wanted.sql").write_bytes(sql.replace("\n", newline).encode())
    info = declared(tmp_path, '@query(path="wanted.sql")')
    place = place_of_column(info, 1, 3)
    assert place.file == tmp_path / "wanted.sql"
    assert (place.line, place.column, place.length) == (3, 8, 6)
    assert place_of_bind(info, "x").line == 4


def test_a_file_that_is_gone_is_named_all_the_same(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT a, :x FROM t")')
    info.origin.file.unlink()
    assert place_of_column(info, 0, 2) == Location(info.origin.file, info.origin.line)


@pytest.mark.parametrize(
    ("items", "pointed"),
    [
        ("a, *, z", ["a", "*", "*", "z"]),
        ("*", ["*", "*", "*", "*"]),
        ("t.*, z", ["t.*", "t.*", "t.*", "z"]),
        ("a, b, c, f(d, e)", ["a", "b", "c", "f(d, e)"]),
    ],
)
def test_a_star_stands_for_the_columns_nobody_else_makes(
    tmp_path: Path, items: str, pointed: list[str]
) -> None:
    info = declared(tmp_path, f'@query("SELECT {items} FROM t WHERE x = :x")')
    assert [pointed_at(place_of_column(info, place, 4)) for place in range(4)] == pointed


def test_columns_that_cannot_be_told_apart_are_found_at_the_decorator(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT t.*, u.* FROM t, u WHERE x = :x")')
    assert place_of_column(info, 2, 4) == place_of_query(info)
    info = declared(tmp_path, '@query("SELECT a, b FROM t WHERE x = :x")')
    assert place_of_column(info, 2, 3) == place_of_query(info)


def test_what_goes_on_in_the_next_line_is_underlined_to_the_end_of_the_first(
    tmp_path: Path,
) -> None:
    info = declared(tmp_path, '@query("""SELECT f(a,\n     b), :x FROM t""")')
    assert pointed_at(place_of_column(info, 0, 2)) == "f(a,"


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
def test_a_position_in_the_sent_text_is_found_in_the_written_one(sql: str) -> None:
    as_sent = compile_statement(text(sql), "postgresql").sql
    assert "$1" in as_sent
    offset = offset_as_written(sql, as_sent, as_sent.index("wanted"))
    assert offset is not None
    assert sql[offset:].startswith("wanted")
    bind = offset_as_written(sql, as_sent, as_sent.index("$1"))
    assert bind == sql.index(":x")
    if "$2" in as_sent:
        assert offset_as_written(sql, as_sent, as_sent.index("$2")) == sql.index(":yy")


def test_texts_that_do_not_agree_have_no_common_positions() -> None:
    assert offset_as_written("SELECT a FROM t", "SELECT b FROM t", 7) is None


def test_a_refusal_points_at_the_word_in_the_file(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT a FROM t WHERE :x = b AND nmae = 1")')
    as_sent = compile_statement(info.statement, "postgresql").sql
    found = refused(info, Refused("no such column", position=as_sent.index("nmae")))
    assert found.place is not None
    assert pointed_at(found.place) == "nmae"


def test_a_refusal_at_the_end_points_at_the_last_character(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT a FROM t WHERE :x = (b ")')
    as_sent = compile_statement(info.statement, "postgresql").sql
    found = refused(info, Refused("syntax error at end of input", position=len(as_sent)))
    assert found.place is not None
    assert pointed_at(found.place) == "b"


def test_a_refusal_without_a_position_shows_the_sent_text(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT a FROM t WHERE b = :x")')
    found = refused(info, Refused("permission denied for table t"))
    assert found.place == place_of_query(info)
    assert found.details["sql"] == "SELECT a FROM t WHERE b = $1"


# ------------------------------------------------------------------------- literals


@given(
    value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1)
)
def test_every_character_of_a_literal_is_found_where_it_stands(
    value: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("literals") / "one.py"
    file.write_text(f"x = 1\nsql = {value!r}\n", encoding="utf-8", newline="\n")
    spots = spots_of_literal(file, 1, value)
    if not value.split():
        assert spots is None
        return
    assert spots is not None
    assert len(spots) == len(value)
    line = file.read_text(encoding="utf-8").split("\n")[1]
    for character, spot in zip(value, spots, strict=True):
        if character.isascii() and character.isalnum():
            assert line[spot.column - 1] == character
    assert spots == sorted(spots)


def test_positions_outside_the_text_are_brought_back_into_it(tmp_path: Path) -> None:
    info = declared(tmp_path, '@query("SELECT :x")')
    assert place_in_sql(info, 999).column == place_in_sql(info, len("SELECT :x") - 1).column
    assert Spot(1, 2) < Spot(2, 1)
