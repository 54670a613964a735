"""Descriptions in files: the same in, the same out, and never half of one."""

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

from sqla_typedpool.check.encoding import decoded, encoded, sealed
from sqla_typedpool.check.snapshots import Snapshots, document_of
from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.errors import CannotRun, SnapshotError
from sqla_typedpool.mapping.dbtypes import DbType
from tests.support.check_lab import declare, described, maybe, never

QUERY = declare("SELECT id, nick FROM u WHERE id = :id", list[tuple[int, str]], id=int)
SAID = described(never("id", "int8"), maybe("nick", "text"), sql=" SELECT")


def said(sql: str) -> Description:
    return described(never("id", "int8"), maybe("nick", "text"), sql=sql)


def written(folder: Path) -> tuple[Snapshots, Path]:
    """A folder with the snapshot of QUERY."""
    snapshots = Snapshots(folder)
    path = snapshots.path_of(QUERY, "postgresql")
    description = said("SELECT id, nick FROM u WHERE id = $1")
    snapshots.write("postgresql", {path: document_of(QUERY, description)})
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
)


@given(descriptions)
def test_what_is_written_is_what_is_read(description: Description) -> None:
    assert decoded(json.dumps(sealed({"format": 1} | encoded(description)))) == description


def test_a_snapshot_is_read_for_its_query(tmp_path: Path) -> None:
    snapshots, _ = written(tmp_path)
    found = snapshots.read(QUERY, "postgresql")
    assert found is not None
    assert [column.name for column in found.columns] == ["id", "nick"]
    assert snapshots.families() == ["postgresql"]


def test_a_changed_statement_has_no_snapshot(tmp_path: Path) -> None:
    snapshots, _ = written(tmp_path)
    changed = declare("SELECT id FROM u WHERE id = :id", list[int], id=int)
    assert snapshots.read(changed, "postgresql") is None


def test_a_parameter_that_may_be_none_is_another_snapshot(tmp_path: Path) -> None:
    snapshots, _ = written(tmp_path)
    optional = declare("SELECT id, nick FROM u WHERE id = :id", list[int], id=int | None)
    assert snapshots.read(optional, "postgresql") is None


def test_the_same_description_is_the_same_file_byte_by_byte(tmp_path: Path) -> None:
    snapshots, path = written(tmp_path)
    before = path.read_bytes()
    changed = snapshots.write("postgresql", {path: before.decode()})
    assert changed == (0, 0)
    assert path.read_bytes() == before
    assert before.endswith(b"}\n")


def test_a_snapshot_holds_neither_the_server_nor_an_oid(tmp_path: Path) -> None:
    _, path = written(tmp_path)
    text = path.read_text()
    assert "PostgreSQL 15" not in text
    assert "oid" not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:40], "not JSON"),
        (lambda text: "", "not JSON"),
        (lambda text: "[]", "not an object"),
        (lambda text: text.replace('"format": 1', '"format": 7'), "format 7"),
        (lambda text: text.replace('"nullable": true', '"nullable": "yes"'), '"nullable"'),
        (lambda text: text.replace('"columns"', '"colums"'), '"columns"'),
        (lambda text: text.replace('"python": "int"', '"python": "complex"'), "complex"),
        (lambda text: text.replace("FROM u", "FROM w"), "edited or merged"),
        (lambda text: text.replace('"nullable": true', '"nullable": false'), "edited or merged"),
        (lambda text: text.replace('"name": "text"', '"name": "int8"'), "edited or merged"),
        (lambda text: re.sub('"digest": ".', '"digest": "x', text), "edited or merged"),
        (lambda text: re.sub('"digest": "[^"]*",', "", text), '"digest"'),
        (lambda text: text.replace('"notes": []', '"notes": [1]'), '"notes" of the file'),
        (lambda text: "[" * 100_000, "not JSON"),
    ],
)
def test_a_damaged_snapshot_is_told_with_what_is_wrong(
    tmp_path: Path, change: Any, words: str
) -> None:
    snapshots, path = written(tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(SnapshotError, match=words):
        snapshots.read(QUERY, "postgresql")


def test_a_snapshot_of_another_statement_is_damaged(tmp_path: Path) -> None:
    snapshots, path = written(tmp_path)
    for other in (SAID, replace(SAID, family="sqlite")):
        path.write_text(document_of(QUERY, other))
        with pytest.raises(SnapshotError, match="another statement"):
            snapshots.read(QUERY, "postgresql")


def test_a_value_of_a_core_statement_that_becomes_none_is_another_snapshot(tmp_path: Path) -> None:
    def path_with(value: str | None) -> Path:
        statement = select(func.coalesce(column("nick", Text), bindparam("x", value, Text)))
        return Snapshots(tmp_path).path_of(declare(statement, list[str]), "postgresql")

    assert path_with("a") == path_with("b")
    assert path_with("a") != path_with(None)


def test_a_snapshot_that_is_no_text_is_damaged(tmp_path: Path) -> None:
    snapshots, path = written(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SnapshotError, match="cannot be read"):
        snapshots.read(QUERY, "postgresql")


def test_only_files_of_the_modules_looked_at_are_orphans(tmp_path: Path) -> None:
    snapshots, path = written(tmp_path)
    home = path.parent
    for name in ("app.old-00000000.json", "other.old-00000000.json", "app.notes.txt"):
        (home / name).write_text("{}")
    orphans = snapshots.orphans("postgresql", {path}, ["app"])
    assert [each.name for each in orphans] == ["app.old-00000000.json"]


def test_a_write_that_fails_leaves_the_old_snapshots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots, path = written(tmp_path)
    before = path.read_bytes()
    other = path.with_name("app.other-00000000.json")

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CannotRun, match="No space left on device"):
        snapshots.write("postgresql", {path: "{}\n", other: "{}\n"}, stale=[path])
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["postgresql", path.name]


def test_each_file_is_put_in_its_place_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots, path = written(tmp_path)
    before = path.read_bytes()
    other = path.with_name("app.other-00000000.json")

    def cut(source: Any, target: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(CannotRun, match="Input/output error"):
        snapshots.write("postgresql", {path: "{}\n", other: "{}\n"})
    assert path.read_bytes() == before
    assert not other.exists()


def test_what_a_killed_run_has_left_is_removed_and_a_running_one_is_not(tmp_path: Path) -> None:
    old, young = tmp_path / ".new-old", tmp_path / ".new-young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "half.json").write_text("{")
    os.utime(old, (0, 0))
    written(tmp_path)
    assert not old.exists()
    assert young.exists()
