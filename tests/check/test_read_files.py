"""The record of what a process reads. An audit hook cannot be removed, so a program has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.commands import ROOT

PROGRAM = """
import contextlib, importlib, json, os, pkgutil, sys
from pathlib import Path
from sqla_typedpool.check.read_files import ReadFiles, report_reads

sys.path.insert(0, os.getcwd())
sys.dont_write_bytecode = True
read = ReadFiles()
report_reads(read.add)
import package.good
for name in ("package.raises", "package.no_syntax", "package.nowhere", "nowhere"):
    with contextlib.suppress(Exception):
        importlib.import_module(name)
list(pkgutil.iter_modules(["package"]))
list(os.scandir("scanned"))
Path("text.sql").read_text()
Path("changes.sql").read_text()
Path("changes.sql").write_text("changed by this process")
with contextlib.suppress(OSError):
    Path("later.sql").read_text()
with open("own.json", "w") as file:
    file.write("{}")
Path("own.json").read_text()
Path("kept.json").read_text()
Path("new.tmp").write_text("{}")
os.replace("new.tmp", "kept.json")
os.close(os.open("opened.sql", os.O_RDONLY))
os.listdir(os.open(".", os.O_RDONLY))
with contextlib.suppress(OSError, ValueError):
    open("nul\\0byte")
with contextlib.suppress(TypeError):
    open(3.5)
import tomllib_or_json
import msgspec
Path("/proc/self/stat").read_text()
Path(".git/HEAD").read_text()
print(json.dumps(read.states()))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    package = folder / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "good.py").write_text("x = 1")
    (package / "raises.py").write_text("1 / 0")
    (package / "no_syntax.py").write_text("def")
    (folder / "tomllib_or_json.py").write_text("import json")
    (folder / "scanned").mkdir()
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").touch()
    for name in ("text.sql", "opened.sql", "changes.sql", "kept.json"):
        (folder / name).write_text("SELECT 1")
    return folder


@pytest.fixture(scope="module")
def read(folder: Path) -> dict[str, object]:
    """The states of the paths below the folder, and of absolute paths elsewhere."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.stderr == ""
    found = json.loads(ended.stdout)
    return {path.removeprefix(f"{folder.resolve()}{os.sep}"): found[path] for path in found}


@pytest.mark.parametrize(
    "path",
    [
        "package/__init__.py",
        "package/good.py",
        "package/raises.py",
        "package/no_syntax.py",
        "text.sql",
        "opened.sql",
    ],
)
def test_a_file_that_is_read_is_recorded_with_its_state(
    folder: Path, read: dict[str, object], path: str
) -> None:
    found = (folder / path).stat()
    assert read[path] == [found.st_mtime_ns, found.st_size]


@pytest.mark.parametrize("path", ["package", "scanned"])
def test_a_folder_that_is_listed_is_recorded(read: dict[str, object], path: str) -> None:
    assert isinstance(read[path], list)


def test_the_folder_in_which_a_module_was_searched_is_recorded(
    folder: Path, read: dict[str, object]
) -> None:
    assert str(folder.resolve()) in read


def test_a_file_that_does_not_exist_yet_is_recorded(read: dict[str, object]) -> None:
    assert read["later.sql"] is None


@pytest.mark.parametrize("path", ["own.json", "kept.json", "changes.sql", "new.tmp"])
def test_a_file_that_the_process_writes_itself_is_left_out(
    read: dict[str, object], path: str
) -> None:
    assert path not in read


def test_libraries_this_package_and_the_system_are_left_out(read: dict[str, object]) -> None:
    assert [path for path in read if os.path.isabs(path) and not path.endswith("project0")] == []
    assert not any(".git" in path or "__pycache__" in path for path in read)


def test_the_source_is_recorded_if_its_bytecode_is_read(tmp_path: Path) -> None:
    (tmp_path / "compiled.py").write_text("x = 1")
    program = (
        "import sys, json; sys.path.insert(0, '')\n"
        "from sqla_typedpool.check.read_files import ReadFiles, report_reads\n"
        "read = ReadFiles()\n"
        "report_reads(read.add)\n"
        "import compiled\n"
        "print(json.dumps([compiled.__cached__, read.states()]))\n"
    )
    os.utime(tmp_path / "compiled.py", (time.time() - 100, time.time() - 100))
    environment = {"PYTHONPATH": str(ROOT)}
    for _ in range(2):  # the first run writes the bytecode, the second one reads it
        answer = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=30,
            check=True,
        )
        cached, states = json.loads(answer.stdout)
        assert (tmp_path / cached).is_file()
        assert str(tmp_path.resolve() / "compiled.py") in states
