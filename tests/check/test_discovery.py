"""Modules in, declared queries out; and statements that nobody checks."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqla_typedpool.check.discovery import discover
from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.undeclared_sql import unchecked
from sqla_typedpool.errors import CannotRun

HEAD = "from sqla_typedpool import Executor, query, fetch_all\n"
ONE = (
    HEAD
    + """
@query("SELECT {number}")
async def number_{number}(db: Executor) -> int:
    raise NotImplementedError
"""
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory whose modules are forgotten at the end."""
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def names_of(*modules: str) -> list[str]:
    return [info.name for info in discover(modules).queries]


def package(folder: Path, name: str, **modules: str) -> None:
    (folder / name).mkdir(parents=True)
    for module, source in ({"__init__": ""} | modules).items():
        (folder / name / f"{module}.py").write_text(source)


def test_a_package_brings_every_module_below_it(folder: Path) -> None:
    package(folder, "shop_a", users=ONE.format(number=1), orders=ONE.format(number=2))
    assert names_of("shop_a") == ["shop_a.orders.number_2", "shop_a.users.number_1"]


def test_a_module_brings_its_own_queries_alone(folder: Path) -> None:
    package(folder, "shop_b", users=ONE.format(number=1), orders=ONE.format(number=2))
    discover(["shop_b.orders"])
    assert names_of("shop_b.users") == ["shop_b.users.number_1"]


def test_a_file_is_a_module_too(folder: Path) -> None:
    (folder / "report.py").write_text(ONE.format(number=1))
    (folder / "odd-name.py").write_text(ONE.format(number=2))
    assert names_of("report.py") == ["report.number_1"]
    assert names_of("./odd-name.py") == ["odd-name.number_2"]


def test_a_file_of_a_package_has_its_name_in_the_package(folder: Path) -> None:
    package(folder / "src", "shop_d", users=ONE.format(number=1))
    (folder / "src" / "shop_d" / "loose").mkdir()
    (folder / "src" / "shop_d" / "loose" / "more.py").write_text(ONE.format(number=2))
    assert names_of("src/shop_d/users.py") == ["shop_d.users.number_1"]
    assert names_of("src/shop_d/loose/more.py") == ["shop_d.loose.more.number_2"]
    assert names_of("src/shop_d") == ["shop_d.loose.more.number_2", "shop_d.users.number_1"]


def test_a_folder_without_init_brings_only_what_mentions_us(folder: Path) -> None:
    package(folder, "shop_e", users=ONE.format(number=1))
    (folder / "shop_e" / "migrations").mkdir()
    (folder / "shop_e" / "migrations" / "env.py").write_text("raise RuntimeError")
    (folder / "shop_e" / "migrations" / "data.py").write_text(ONE.format(number=2))
    assert names_of("shop_e") == ["shop_e.migrations.data.number_2", "shop_e.users.number_1"]


@pytest.mark.parametrize("name", ["src", "src/", "./src", "."])
def test_a_folder_of_packages_is_searched(folder: Path, name: str) -> None:
    package(folder / "src", "shop_g", users=ONE.format(number=1))
    (folder / "src" / "tool.py").write_text("raise RuntimeError  # it does not know us")
    found = discover([name])
    assert [info.name for info in found.queries] == ["shop_g.users.number_1"]
    assert found.roots == ("shop_g",)


@pytest.mark.parametrize("name", ["shop_h", "shop_h/", "shop_h/inner"])
def test_a_package_without_init_has_its_name_all_the_same(folder: Path, name: str) -> None:
    (folder / "shop_h" / "inner").mkdir(parents=True)
    (folder / "shop_h" / "inner" / "users.py").write_text(ONE.format(number=1))
    found = discover([name])
    assert [info.name for info in found.queries] == ["shop_h.inner.users.number_1"]
    assert found.roots == (name.rstrip("/").replace("/", "."),)


def test_the_folder_of_a_package_may_be_where_one_stands(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(folder, "shop_i", users=ONE.format(number=1))
    monkeypatch.chdir(folder / "shop_i")
    assert names_of(".") == ["shop_i.users.number_1"]


def test_an_empty_name_is_told(folder: Path) -> None:
    with pytest.raises(CannotRun, match="name of a module is empty"):
        discover([""])


def test_what_is_named_can_be_excluded_as_well(folder: Path) -> None:
    (folder / "broken_a.py").write_text("raise RuntimeError")
    for name in ("broken_a", "broken_a.py"):
        assert discover([name], ["broken_a"]).queries == ()


def test_a_module_may_leave_the_folder_and_close_its_output(folder: Path) -> None:
    going = "import os, sys\nos.chdir('/')\nsys.stdout.close()\n"
    (folder / "going.py").write_text(going + ONE.format(number=1))
    assert names_of("going.py") == ["going.number_1"]
    assert Path.cwd() == folder
    assert not sys.stderr.closed


def test_two_queries_of_one_name_are_both_found(folder: Path) -> None:
    source = ONE.format(number=1) + "kept = number_1\n" + ONE.format(number=1)
    (folder / "twice.py").write_text(source)
    assert names_of("twice") == ["twice.number_1", "twice.number_1"]
    both = {info.origin.line for info in discover(["twice"]).queries}
    assert len(both) == 2


def test_what_is_excluded_is_not_imported(folder: Path) -> None:
    package(folder, "shop_f", users=ONE.format(number=1), users_2=ONE.format(number=2))
    package(folder / "shop_f", "broken", deep="raise RuntimeError")
    found = discover(["shop_f"], ["shop_f.broken", "shop_f.users"])
    assert [info.name for info in found.queries] == ["shop_f.users_2.number_2"]
    with pytest.raises(CannotRun, match="leave it out with --exclude"):
        discover(["shop_f"])


def test_a_file_that_another_module_hides_is_told(folder: Path) -> None:
    (folder / "json.py").write_text(ONE.format(number=1))
    with pytest.raises(CannotRun, match=r"json\.py cannot be imported: json is .*json"):
        discover(["json.py"])


def test_an_error_in_a_library_is_placed_where_the_application_called_it(folder: Path) -> None:
    source = "from sqlalchemy import create_engine\n\ncreate_engine('nosuch://h/d')\n"
    (folder / "engine_of.py").write_text(source)
    with pytest.raises(CannotRun, match=r"NoSuchModuleError.*engine_of\.py:3\)"):
        discover(["engine_of"])


def test_main_modules_are_not_run(folder: Path) -> None:
    package(folder, "shop_c", users=ONE.format(number=1), __main__="raise SystemExit(3)")
    assert names_of("shop_c") == ["shop_c.users.number_1"]


def test_what_modules_print_does_not_reach_standard_output(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "loud.py").write_text("print('loud')\n" + ONE.format(number=1))
    discover(["loud"])
    said = capsys.readouterr()
    assert said.out == ""
    assert "loud" in said.err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("def f(:", "SyntaxError"),
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_file_and_line(
    folder: Path, source: str, words: str
) -> None:
    package(folder, "broken", deep=f"\n{source}\n")
    with pytest.raises(CannotRun, match=r"broken\.deep cannot be imported") as raised:
        discover(["broken"])
    assert words in str(raised.value)
    assert "deep.py:2" in str(raised.value)
    sys.modules.pop("broken", None)


def test_a_module_that_does_not_exist_says_where_it_was_looked_for(folder: Path) -> None:
    with pytest.raises(CannotRun, match="there is no module shop_x") as raised:
        discover(["shop_x.users"])
    assert str(folder) in str(raised.value)
    with pytest.raises(CannotRun, match=r"there is no file none\.py"):
        discover(["none.py"])


def test_a_wrong_declaration_is_told_in_its_own_words(folder: Path) -> None:
    (folder / "wrong.py").write_text(ONE.format(number=1).replace("SELECT 1", "SELECT :x"))
    with pytest.raises(CannotRun, match=r"wrong\.number_1"):
        discover(["wrong"])


# ----------------------------------------------------------------- what is unchecked


def lint(folder: Path, source: str) -> list[Finding]:
    file = folder / "linted.py"
    file.write_text(source)
    return unchecked([file])


def shown(findings: list[Finding]) -> list[str]:
    return [f"{each.code}:{each.place and each.place.line}" for each in findings]


@pytest.mark.parametrize(
    "call",
    [
        'fetch_all(db, int, "SELECT 1")',
        'fetch_all(db, int, statement="SELECT 1")',
        'fetch_all(db, int, f"SELECT {x}")',
        'fetch_all(db, int, text("SELECT 1"))',
        'fetch_all(db, int, "SELECT " + column)',
    ],
)
def test_sql_in_a_call_is_told(folder: Path, call: str) -> None:
    assert shown(lint(folder, f"{HEAD}rows = {call}\n")) == ["TP002:2"]


@pytest.mark.parametrize(
    "call",
    ["fetch_all(db, int, STATEMENT)", "other(db, int, 'SELECT 1')", "fetch_all(*arguments)"],
)
def test_what_is_not_certainly_sql_of_ours_is_left_alone(folder: Path, call: str) -> None:
    assert lint(folder, f"{HEAD}rows = {call}\n") == []


def test_functions_are_known_by_a_star(folder: Path) -> None:
    source = "from sqla_typedpool import *\nfetch_all(db, int, 'SELECT 1')\n"
    source += "@query(f'SELECT {x}')\nasync def f(db): ...\n"
    assert shown(lint(folder, source)) == ["TP002:2", "TP003:3"]


def test_a_constant_that_is_put_together_is_told_where_it_is_declared(folder: Path) -> None:
    made = 'SQL: str = f"SELECT {x}"\nPLAIN = "SELECT 1"\n'
    declared = "@query(SQL)\nasync def f(db): ...\n@query(PLAIN)\nasync def g(db): ...\n"
    assert shown(lint(folder, HEAD + made + declared)) == ["TP003:4"]


def test_functions_are_known_by_any_name(folder: Path) -> None:
    source = "import sqla_typedpool as tp\nfrom sqla_typedpool import stream as s\n"
    source += 'tp.fetch_one(db, int, "SELECT 1")\ns(db, int, "SELECT 1")\n'
    assert shown(lint(folder, source)) == ["TP002:3", "TP002:4"]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ('"SELECT 1"', []),
        ('"SELECT " "1"', []),
        ('"SELECT " + "1"', []),
        ("STATEMENT", []),
        ('f"SELECT 1"', []),
        ('f"SELECT {x}"', ["TP003:2"]),
        ('"SELECT %s" % x', ["TP003:2"]),
        ('"SELECT {}".format(x)', ["TP003:2"]),
        ('" ".join(parts)', ["TP003:2"]),
        ('text(f"SELECT {x}")', ["TP003:2"]),
    ],
)
def test_declared_sql_that_is_put_together_is_told(
    folder: Path, statement: str, found: list[str]
) -> None:
    assert shown(lint(folder, f"{HEAD}@query({statement})\nasync def f(db): ...\n")) == found


def test_the_column_counts_characters(folder: Path) -> None:
    (finding,) = lint(folder, f'{HEAD}x = "é", fetch_all(db, int, "SELECT 1")\n')
    assert finding.place is not None
    assert finding.place.column == 29
    assert finding.place.length == len('"SELECT 1"')


def test_what_python_warns_of_is_not_said_twice(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shown(lint(folder, HEAD + 'fetch_all(db, int, "SELECT \\d")\n')) == ["TP002:2"]
