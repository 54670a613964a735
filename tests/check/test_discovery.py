"""Finding declared queries, and SQL that is not checked."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sqla_typedpool.check.discovery import discover
from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.undeclared_sql import undeclared_sql
from sqla_typedpool.errors import CannotRun, DeclarationError
from sqla_typedpool.queries.declare import collect_errors

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
    """A working directory. Modules imported from it are removed at the end."""
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


def test_a_package_includes_every_module_below_it(folder: Path) -> None:
    package(folder, "shop_a", users=ONE.format(number=1), orders=ONE.format(number=2))
    assert names_of("shop_a") == ["shop_a.orders.number_2", "shop_a.users.number_1"]


def test_a_module_includes_only_its_own_queries(folder: Path) -> None:
    package(folder, "shop_b", users=ONE.format(number=1), orders=ONE.format(number=2))
    discover(["shop_b.orders"])
    assert names_of("shop_b.users") == ["shop_b.users.number_1"]


def test_a_file_is_imported_as_a_module(folder: Path) -> None:
    (folder / "report.py").write_text(ONE.format(number=1))
    (folder / "odd-name.py").write_text(ONE.format(number=2))
    assert names_of("report.py") == ["report.number_1"]
    assert names_of("./odd-name.py") == ["odd-name.number_2"]


def test_a_file_in_a_package_is_imported_under_its_full_name(folder: Path) -> None:
    package(folder / "src", "shop_d", users=ONE.format(number=1))
    (folder / "src" / "shop_d" / "loose").mkdir()
    (folder / "src" / "shop_d" / "loose" / "more.py").write_text(ONE.format(number=2))
    assert names_of("src/shop_d/users.py") == ["shop_d.users.number_1"]
    assert names_of("src/shop_d/loose/more.py") == ["shop_d.loose.more.number_2"]
    assert names_of("src/shop_d") == ["shop_d.loose.more.number_2", "shop_d.users.number_1"]


def test_in_a_folder_without_init_only_files_that_mention_the_package_are_imported(
    folder: Path,
) -> None:
    package(folder, "shop_e", users=ONE.format(number=1))
    (folder / "shop_e" / "migrations").mkdir()
    (folder / "shop_e" / "migrations" / "env.py").write_text("raise RuntimeError")
    (folder / "shop_e" / "migrations" / "data.py").write_text(ONE.format(number=2))
    assert names_of("shop_e") == ["shop_e.migrations.data.number_2", "shop_e.users.number_1"]


@pytest.mark.parametrize("name", ["src", "src/", "./src", "."])
def test_a_folder_of_packages_is_searched(folder: Path, name: str) -> None:
    package(folder / "src", "shop_g", users=ONE.format(number=1))
    (folder / "src" / "tool.py").write_text("raise RuntimeError  # the package is not mentioned")
    found = discover([name])
    assert [info.name for info in found.queries] == ["shop_g.users.number_1"]
    assert found.roots == ("shop_g",)


@pytest.mark.parametrize("name", ["shop_h", "shop_h/", "shop_h/inner"])
def test_a_package_without_init_is_imported_under_its_name(folder: Path, name: str) -> None:
    (folder / "shop_h" / "inner").mkdir(parents=True)
    (folder / "shop_h" / "inner" / "users.py").write_text(ONE.format(number=1))
    found = discover([name])
    assert [info.name for info in found.queries] == ["shop_h.inner.users.number_1"]
    assert found.roots == (name.rstrip("/").replace("/", "."),)


def test_the_working_directory_can_be_inside_the_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(folder, "shop_i", users=ONE.format(number=1))
    monkeypatch.chdir(folder / "shop_i")
    assert names_of(".") == ["shop_i.users.number_1"]


def test_an_empty_name_is_an_error(folder: Path) -> None:
    with pytest.raises(CannotRun, match="name of a module is empty"):
        discover([""])


def test_a_named_module_can_be_excluded(folder: Path) -> None:
    (folder / "broken_a.py").write_text("raise RuntimeError")
    for name in ("broken_a", "broken_a.py"):
        assert discover([name], ["broken_a"]).queries == ()


def test_a_module_can_change_the_folder_and_close_its_output(folder: Path) -> None:
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


def test_an_excluded_module_is_not_imported(folder: Path) -> None:
    package(folder, "shop_f", users=ONE.format(number=1), users_2=ONE.format(number=2))
    package(folder / "shop_f", "broken", deep="raise RuntimeError")
    found = discover(["shop_f"], ["shop_f.broken", "shop_f.users"])
    assert [info.name for info in found.queries] == ["shop_f.users_2.number_2"]
    with pytest.raises(CannotRun, match="exclude it with --exclude"):
        discover(["shop_f"])


def test_a_file_with_the_name_of_another_module_is_an_error(folder: Path) -> None:
    (folder / "json.py").write_text(ONE.format(number=1))
    with pytest.raises(CannotRun, match=r"json\.py cannot be imported, because the module json is"):
        discover(["json.py"])


def test_an_error_in_a_library_names_the_line_of_the_application(folder: Path) -> None:
    source = "from sqlalchemy import create_engine\n\ncreate_engine('nosuch://h/d')\n"
    (folder / "engine_of.py").write_text(source)
    with pytest.raises(CannotRun, match=r"NoSuchModuleError.*engine_of\.py:3\)"):
        discover(["engine_of"])


def test_main_modules_are_not_run(folder: Path) -> None:
    package(folder, "shop_c", users=ONE.format(number=1), __main__="raise SystemExit(3)")
    assert names_of("shop_c") == ["shop_c.users.number_1"]


def test_output_of_modules_goes_to_standard_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "loud.py").write_text("print('loud')\n" + ONE.format(number=1))
    discover(["loud"])
    output = capsys.readouterr()
    assert output.out == ""
    assert "loud" in output.err


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("def f(:", "SyntaxError: invalid syntax ("),
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_file_and_line(
    folder: Path, source: str, expected: str
) -> None:
    package(folder, "broken", deep=f"\n{source}\n")
    with pytest.raises(CannotRun, match=r"broken\.deep cannot be imported") as raised:
        discover(["broken"])
    assert expected in str(raised.value)
    assert "deep.py:2" in str(raised.value)
    sys.modules.pop("broken", None)


def test_a_missing_module_is_reported_with_the_searched_folder(folder: Path) -> None:
    with pytest.raises(CannotRun, match="there is no module shop_x") as raised:
        discover(["shop_x.users"])
    assert str(folder) in str(raised.value)
    with pytest.raises(CannotRun, match=r"there is no file none\.py"):
        discover(["none.py"])


def faulty(number: int) -> str:
    """Return a declaration whose SQL has a parameter that the function does not have."""
    return ONE.format(number=number).replace(f"SELECT {number}", "SELECT :x")


def test_all_faulty_declarations_are_collected_and_the_other_queries_found(folder: Path) -> None:
    source = faulty(1) + ONE.format(number=2) + faulty(3)
    package(folder, "shop_j", orders=source, users=ONE.format(number=4))
    found = discover(["shop_j"])
    assert [error.query for error in found.errors] == [
        "shop_j.orders.number_1",
        "shop_j.orders.number_3",
    ]
    assert [info.name for info in found.queries] == [
        "shop_j.orders.number_2",
        "shop_j.users.number_4",
    ]


def test_outside_of_the_checker_a_faulty_declaration_is_raised(folder: Path) -> None:
    (folder / "raised.py").write_text(faulty(1))
    discover(["raised"])
    del sys.modules["raised"]
    with pytest.raises(DeclarationError, match=r"raised\.number_1"):
        importlib.import_module("raised")


def test_a_faulty_classmethod_is_collected(folder: Path) -> None:
    method = faulty(1).partition(HEAD)[2].replace("(db:", "(cls, db:")
    lines = ["class Repo:", *method.strip().splitlines()]
    lines.insert(1, "@classmethod")
    (folder / "methods.py").write_text(HEAD + "\n    ".join(lines) + "\n")
    (error,) = discover(["methods"]).errors
    assert error.query == "methods.Repo.number_1"


def test_all_modules_that_cannot_be_imported_are_named_with_the_faulty_declarations(
    folder: Path,
) -> None:
    package(
        folder,
        "shop_k",
        broken="x = 1 / 0",
        orders=faulty(1),
        products="import nothing_of_that_name",
        users="from shop_k import broken",
    )
    with pytest.raises(CannotRun) as raised:
        discover(["shop_k", "none.py"])
    lines = str(raised.value).splitlines()
    assert lines[0] == "there are 4 errors:"
    assert [line.partition(" cannot be imported")[0] for line in lines[1:3]] == [
        "- shop_k.broken",
        "- shop_k.products",
    ]
    assert lines[3].startswith("- there is no file none.py")
    assert "query shop_k.orders.number_1: " in lines[4]


@pytest.mark.parametrize(
    "failure", ["x = 1 / 0", "import sqla_typedpool\nsqla_typedpool.query_info(number_1)"]
)
def test_a_faulty_declaration_in_a_module_that_fails_later_is_named_once(
    folder: Path, failure: str
) -> None:
    broken = f"{faulty(1)}\n{failure}\n"
    package(folder, "shop_l", broken=broken, users="from shop_l import broken")
    with pytest.raises(CannotRun) as raised:
        discover(["shop_l"])
    lines = str(raised.value).splitlines()
    assert lines[0] == "there are 2 errors:"
    assert lines[1].startswith("- shop_l.broken cannot be imported")
    assert "query shop_l.broken.number_1: " in lines[2]
    assert len(lines) == 3


def test_errors_are_collected_in_modules_that_other_modules_import(folder: Path) -> None:
    (folder / "outer_m.py").write_text("import inner_m\n" + faulty(1))
    (folder / "inner_m.py").write_text(faulty(2))
    errors = discover(["outer_m"]).errors
    assert [each.query for each in errors] == ["inner_m.number_2", "outer_m.number_1"]


def test_errors_of_other_threads_are_raised_there(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    (folder / "thread_n.py").write_text(faulty(1))
    with collect_errors() as errors, ThreadPoolExecutor(1) as threads:
        future = threads.submit(importlib.import_module, "thread_n")
        with pytest.raises(DeclarationError, match=r"thread_n\.number_1"):
            future.result()
    assert errors == []


# ----------------------------------------------------------------- SQL that is not checked


def lint(folder: Path, source: str) -> list[Finding]:
    file = folder / "linted.py"
    file.write_text(source)
    return undeclared_sql([file])


def shown(findings: list[Finding]) -> list[str]:
    return [f"{each.code}:{each.location and each.location.line}" for each in findings]


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
def test_sql_in_a_call_is_a_finding(folder: Path, call: str) -> None:
    assert shown(lint(folder, f"{HEAD}rows = {call}\n")) == ["TP002:2"]


@pytest.mark.parametrize(
    "call",
    ["fetch_all(db, int, STATEMENT)", "other(db, int, 'SELECT 1')", "fetch_all(*arguments)"],
)
def test_calls_without_certain_sql_text_are_not_reported(folder: Path, call: str) -> None:
    assert lint(folder, f"{HEAD}rows = {call}\n") == []


def test_functions_imported_with_a_star_are_recognised(folder: Path) -> None:
    source = "from sqla_typedpool import *\nfetch_all(db, int, 'SELECT 1')\n"
    source += "@query(f'SELECT {x}')\nasync def f(db): ...\n"
    assert shown(lint(folder, source)) == ["TP002:2", "TP003:3"]


def test_a_constant_that_is_built_is_reported_at_the_query(folder: Path) -> None:
    made = 'SQL: str = f"SELECT {x}"\nPLAIN = "SELECT 1"\n'
    declared = "@query(SQL)\nasync def f(db): ...\n@query(PLAIN)\nasync def g(db): ...\n"
    assert shown(lint(folder, HEAD + made + declared)) == ["TP003:4"]


def test_functions_imported_under_another_name_are_recognised(folder: Path) -> None:
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
def test_declared_sql_that_is_built_is_a_finding(
    folder: Path, statement: str, found: list[str]
) -> None:
    assert shown(lint(folder, f"{HEAD}@query({statement})\nasync def f(db): ...\n")) == found


def test_the_column_is_counted_in_characters(folder: Path) -> None:
    (finding,) = lint(folder, f'{HEAD}x = "é", fetch_all(db, int, "SELECT 1")\n')
    assert finding.location is not None
    assert finding.location.column == 29
    assert finding.location.length == len('"SELECT 1"')


def test_warnings_of_python_about_a_file_are_not_repeated(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shown(lint(folder, HEAD + 'fetch_all(db, int, "SELECT \\d")\n')) == ["TP002:2"]
