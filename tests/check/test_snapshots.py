"""Writing and reading snapshots."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Text, bindparam, column, func, select

from sqla_typedpool.check.describing import compile_query
from sqla_typedpool.check.snapshot_format import document_text, is_same, parse_document
from sqla_typedpool.check.snapshots import Snapshots, snapshot_text
from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.describe.writes import ColumnWrite, TargetColumn, ValueSource, WriteAction
from sqla_typedpool.errors import CannotRun, SnapshotError
from sqla_typedpool.mapping.dbtypes import DbType
from tests.support.check_lab import declare, described, maybe, never, written
from tests.support.commands import ROOT

QUERY = compile_query(
    declare("SELECT id, nick FROM u WHERE id = :id", list[tuple[int, str]], id=int), "postgresql"
)
GOLDEN = Path(__file__).parent / "golden"
DESCRIPTION = described(never("id", "int8"), maybe("nick", "text"), sql=" SELECT")


def description_of(sql: str) -> Description:
    return described(never("id", "int8"), maybe("nick", "text"), sql=sql)


def written_to(folder: Path) -> tuple[Snapshots, Path]:
    """Return a folder with the snapshot of QUERY, and the path of the snapshot."""
    snapshots = Snapshots(folder)
    path = snapshots.path_of(QUERY)
    description = description_of("SELECT id, nick FROM u WHERE id = $1")
    snapshots.write({path: snapshot_text(QUERY, description)})
    return snapshots, path


types = st.recursive(
    st.builds(
        DbType,
        name=st.text(),
        python=st.sampled_from([None, int, str, bool, list, bytes]),
        is_range=st.booleans(),
        labels=st.lists(st.text()).map(tuple),
        aware=st.sampled_from([None, True, False]),
        json=st.booleans(),
    ),
    lambda inner: st.builds(
        DbType,
        name=st.text(),
        element=st.none() | inner,
        fields=st.lists(st.tuples(st.text(), inner)).map(tuple),
    ),
    max_leaves=4,
)
writes = st.builds(
    ColumnWrite,
    action=st.sampled_from(WriteAction),
    column=st.builds(
        TargetColumn,
        name=st.text(),
        not_null=st.booleans(),
        max_length=st.none() | st.integers(0, 10_000),
        accepted=st.lists(st.text()).map(tuple),
    ),
    source=st.sampled_from(ValueSource),
    parameters=st.lists(st.text()).map(tuple),
    nullable=st.booleans(),
    why=st.text(),
)
descriptions = st.builds(
    Description,
    family=st.just("postgresql"),
    sql=st.text(),
    parameters=st.lists(
        st.builds(ParameterDescription, st.text(), st.none() | types, st.booleans(), st.booleans())
    ).map(tuple),
    columns=st.lists(
        st.builds(
            ColumnDescription,
            *(st.text(), types, st.booleans(), st.text(), st.none() | st.text()),
            missing_with=st.none() | st.text(),
        )
    ).map(tuple),
    server=st.just(""),
    fingerprint=st.text(),
    notes=st.lists(st.text()).map(tuple),
    writes=st.none() | st.lists(writes, max_size=3).map(tuple),
)


@given(descriptions)
def test_a_description_is_the_same_after_writing_and_reading(description: Description) -> None:
    assert parse_document(document_text("app.get", ("id",), description)) == description


def test_a_snapshot_is_found_for_its_query(tmp_path: Path) -> None:
    snapshots, _ = written_to(tmp_path)
    found = snapshots.read(QUERY)
    assert found is not None
    assert [column.name for column in found.columns] == ["id", "nick"]
    assert snapshots.families() == ["postgresql"]


def test_a_changed_statement_has_no_snapshot(tmp_path: Path) -> None:
    snapshots, _ = written_to(tmp_path)
    changed = declare("SELECT id FROM u WHERE id = :id", list[int], id=int)
    assert snapshots.read(compile_query(changed, "postgresql")) is None


def test_an_optional_parameter_needs_a_different_snapshot(tmp_path: Path) -> None:
    snapshots, _ = written_to(tmp_path)
    optional = declare("SELECT id, nick FROM u WHERE id = :id", list[int], id=int | None)
    assert snapshots.read(compile_query(optional, "postgresql")) is None


def test_the_same_description_gives_the_same_bytes(tmp_path: Path) -> None:
    snapshots, path = written_to(tmp_path)
    before = path.read_bytes()
    changed = snapshots.write({path: before.decode()})
    assert changed == (0, 0)
    assert path.read_bytes() == before
    assert before.endswith(b"}\n")


def test_a_snapshot_contains_neither_the_server_nor_an_oid(tmp_path: Path) -> None:
    _, path = written_to(tmp_path)
    text = path.read_text()
    assert "PostgreSQL 15" not in text
    assert "oid" not in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text[:40], "not JSON"),
        (lambda text: "", "not JSON"),
        (lambda text: "[]", r"\$: expected SnapshotDocument, found list"),
        (lambda text: text.replace('"format": 2', '"format": 7'), "format 7.* formats 1 and 2"),
        (
            lambda text: text.replace('"nullable": true', '"nullable": "yes"'),
            r"\$\.columns\[1\]\.nullable: expected bool, found str",
        ),
        (lambda text: text.replace('"columns"', '"colums"'), r"\$\.columns: .*no such key"),
        (lambda text: text.replace('"python": "int"', '"python": "complex"'), "complex"),
        (lambda text: text.replace("FROM u", "FROM w"), "edited or merged"),
        (lambda text: text.replace('"nullable": true', '"nullable": false'), "edited or merged"),
        (lambda text: text.replace('"name": "text"', '"name": "int8"'), "edited or merged"),
        (lambda text: re.sub('"digest": ".', '"digest": "x', text), "edited or merged"),
        (lambda text: re.sub('"digest": "[^"]*",', "", text), r"\$\.digest: "),
        (
            lambda text: text.replace('"notes": []', '"notes": [1]'),
            r"\$\.notes\[0\]: expected str, found int",
        ),
        (lambda text: "[" * 100_000, "not JSON"),
    ],
)
def test_the_error_for_a_damaged_snapshot_names_the_fault_and_the_file(
    tmp_path: Path, change: Any, expected: str
) -> None:
    snapshots, path = written_to(tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(SnapshotError, match=expected):
        snapshots.read(QUERY)


def test_a_snapshot_of_another_statement_is_damaged(tmp_path: Path) -> None:
    snapshots, path = written_to(tmp_path)
    for other in (DESCRIPTION, replace(DESCRIPTION, family="sqlite")):
        path.write_text(snapshot_text(QUERY, other))
        with pytest.raises(SnapshotError, match="a different statement"):
            snapshots.read(QUERY)


def test_a_value_of_a_core_statement_that_becomes_none_needs_a_different_snapshot(
    tmp_path: Path,
) -> None:
    def path_with(value: str | None) -> Path:
        statement = select(func.coalesce(column("nick", Text), bindparam("x", value, Text)))
        query = compile_query(declare(statement, list[str]), "postgresql")
        return Snapshots(tmp_path).path_of(query)

    assert path_with("a") == path_with("b")
    assert path_with("a") != path_with(None)


def test_a_snapshot_that_is_not_utf_8_cannot_be_read(tmp_path: Path) -> None:
    snapshots, path = written_to(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SnapshotError, match="cannot be read"):
        snapshots.read(QUERY)


def test_only_files_of_the_imported_modules_are_unused(tmp_path: Path) -> None:
    snapshots, path = written_to(tmp_path)
    home = path.parent
    for name in ("app.old-00000000.json", "other.old-00000000.json", "app.notes.txt"):
        (home / name).write_text("{}")
    unused = snapshots.unused("postgresql", {path}, ["app"])
    assert [each.name for each in unused] == ["app.old-00000000.json"]


def test_a_write_that_fails_leaves_the_old_snapshots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots, path = written_to(tmp_path)
    before = path.read_bytes()
    other = path.with_name("app.other-00000000.json")

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CannotRun, match="No space left on device"):
        snapshots.write({path: "{}\n", other: "{}\n"}, unused=[path])
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["postgresql", path.name]


def test_a_file_that_cannot_be_moved_leaves_the_old_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots, path = written_to(tmp_path)
    before = path.read_bytes()
    other = path.with_name("app.other-00000000.json")

    def cut(source: Any, target: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(CannotRun, match="Input/output error"):
        snapshots.write({path: "{}\n", other: "{}\n"})
    assert path.read_bytes() == before
    assert not other.exists()


def test_leftovers_of_killed_runs_are_removed_and_recent_ones_are_not(tmp_path: Path) -> None:
    old, young = tmp_path / ".new-old", tmp_path / ".new-young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "half.json").write_text("{")
    os.utime(old, (0, 0))
    written_to(tmp_path)
    assert not old.exists()
    assert young.exists()


def test_descriptions_that_differ_only_in_reasons_and_notes_are_the_same() -> None:
    reworded = replace(
        DESCRIPTION, columns=(replace(DESCRIPTION.columns[0], why="a reworded reason"),)
    )
    one = replace(DESCRIPTION, columns=DESCRIPTION.columns[:1])
    assert is_same(one, replace(reworded, notes=("a reworded note",)))
    assert not is_same(one, replace(one, columns=(replace(one.columns[0], nullable=True),)))
    assert not is_same(one, replace(one, fingerprint="another schema"))


def test_writes_are_compared_without_their_reasons() -> None:
    write = written("name", ValueSource.EXPRESSION, why="o.name may be NULL")
    one = replace(DESCRIPTION, writes=(write,))
    assert is_same(one, replace(one, writes=(replace(write, why="reworded"),)))
    for changed in (
        None,
        (),
        (replace(write, nullable=False),),
        (replace(write, column=replace(write.column, not_null=False)),),
        (replace(write, column=replace(write.column, max_length=3)),),
    ):
        assert not is_same(one, replace(one, writes=changed))


def test_a_write_is_stored_without_what_is_not_known() -> None:
    description = replace(
        DESCRIPTION,
        writes=(
            written("mail", ValueSource.OMITTED),
            written("name", ValueSource.PARAMETER, "x", nullable=False, max_length=9),
        ),
    )
    assert json.loads(document_text("app.add", ("x",), description))["writes"] == [
        {
            "action": "INSERT",
            "column": "public.users.mail",
            "not_null": True,
            "source": "omitted",
        },
        {
            "action": "INSERT",
            "column": "public.users.name",
            "max_length": 9,
            "not_null": True,
            "nullable": False,
            "parameters": ["x"],
            "source": "parameter",
        },
    ]


@pytest.mark.parametrize(("name", "notes"), [("update", 1), ("select", 0)])
def test_a_snapshot_of_the_first_format_has_unknown_writes(name: str, notes: int) -> None:
    text = (GOLDEN / f"format_1_{name}.json").read_text(encoding="utf-8")
    description = parse_document(text)
    assert description.writes is None
    assert len(description.notes) == notes
    assert all("next: run `sqla-typedpool prepare`" in each for each in description.notes)
    assert not is_same(description, replace(description, writes=()))
    with pytest.raises(SnapshotError, match="edited or merged"):
        parse_document(text.replace('"format": 1', '"format": 2'))


def test_the_text_of_a_snapshot_is_stable() -> None:
    """The format of committed snapshots must not change."""
    folder = ROOT / "examples/bookshop/.sqla_typedpool/postgresql"
    for path in sorted(folder.iterdir()):
        text = path.read_text(encoding="utf-8")
        document = json.loads(text)
        description = parse_document(text)
        again = document_text(document["query"], tuple(document["never_null"]), description)
        assert again == text, path.name
