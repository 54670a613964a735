"""``check --fix --write`` changes the bytes of an annotation, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.check.fixes.lab import run, write_snapshots

HEAD = "from sqla_typedpool import Executor, query\n"
QUERY = """

@query("SELECT nick FROM users")
async def nicks(db: Executor) -> list[str]:
    raise NotImplementedError
"""
CLASS = """
from dataclasses import dataclass

@dataclass
class User:
    nick: str


@query("SELECT nick FROM users")
async def users(db: Executor) -> list[User]:
    raise NotImplementedError
"""
CASES = {
    "CRLF": (HEAD + CLASS).replace("\n", "\r\n").encode(),
    "CR": (HEAD + CLASS).replace("\n", "\r").encode(),
    "no line end at the end": (HEAD + QUERY).rstrip("\n").encode(),
    "mixed line ends": (HEAD + CLASS).replace("User:\n", "User:\r\n").encode(),
    "tabs": (HEAD + CLASS).replace("    nick: ", "\tnick\t:\t").encode(),
    "a form feed": (HEAD + "\f\n" + CLASS).encode(),
    "a BOM": b"\xef\xbb\xbf" + (HEAD + CLASS).encode(),
    "latin-1": f"# coding: latin-1\n# é\n{HEAD}{CLASS}".encode("latin-1"),
    "characters of several bytes": (HEAD + CLASS)
    .replace("    nick: str", "    ä = 1; 名 = '🐘'; nick: str; ö = '🐘'")
    .encode(),
    "a line separator in a comment": (HEAD + "# \u2028 \x0b \x1c\n" + CLASS).encode(),
    "a string with characters of several bytes": (
        HEAD + CLASS.replace("nick: str", "nick: 'Ärger'") + "\nÄrger = str\n"
    ).encode(),
}


@pytest.mark.parametrize("name", CASES)
def test_only_the_bytes_of_the_annotation_change(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = CASES[name]
    (tmp_path / "app.py").write_bytes(before)
    write_snapshots(tmp_path, monkeypatch)
    answer = run(tmp_path, "--fix", "--write", "--offline")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    after = (tmp_path / "app.py").read_bytes()
    assert after.replace(b" | None", b"", 1) == before
    assert after.count(b" | None") == 1
    assert run(tmp_path, "--strict", "--offline").returncode == 0


def test_a_new_import_has_the_line_ends_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = HEAD + QUERY.replace("nick FROM", "token FROM")
    (tmp_path / "app.py").write_bytes(source.replace("\n", "\r\n").encode())
    write_snapshots(tmp_path, monkeypatch)
    assert run(tmp_path, "--fix", "--write", "--offline").returncode == 0
    after = (tmp_path / "app.py").read_bytes()
    assert after.startswith(b"from uuid import UUID\r\n\r\nfrom sqla_typedpool import")
    assert after.count(b"\n") == after.count(b"\r\n") == source.count("\n") + 2
