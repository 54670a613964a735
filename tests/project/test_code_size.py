"""Limits on the code: the size of the package and of its functions, and unique class names.

`python -m tests.support.code_size sqla_typedpool` prints the figures.
"""

from __future__ import annotations

import ast
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.code_size import (
    code_lines,
    function_sizes,
    main,
    nine_in_ten,
    python_files,
)
from tests.support.imports import PACKAGE_ROOT

PACKAGES = sorted(init.parent.name for init in PACKAGE_ROOT.glob("*/__init__.py"))
MOST_CODE_LINES = 30_000


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_short(package: str) -> None:
    files = python_files([PACKAGE_ROOT / package])
    functions = [size for file in files for size in function_sizes(file)]
    sizes = [each.lines for each in functions]
    assert [str(each) for each in functions if each.lines > 50] == []
    assert statistics.median(sizes) <= 8
    assert nine_in_ten(sizes) <= 25


def test_the_package_is_small() -> None:
    lines = sum(code_lines(file.read_text()) for file in python_files([PACKAGE_ROOT]))
    assert lines <= MOST_CODE_LINES


def duplicate_classes(files: Iterable[Path]) -> dict[str, list[str]]:
    """Return the names that several classes have, with the places of these classes."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{file}:{node.lineno}")
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_two_classes_of_the_package_have_the_same_name() -> None:
    assert duplicate_classes(python_files([PACKAGE_ROOT])) == {}


def test_two_duplicate_classes_are_found(tmp_path: Path) -> None:
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("class A: ...\nclass B: ...\n")
    second.write_text("def f():\n    class A: ...\n")
    assert duplicate_classes([first, second]) == {"A": [f"{first}:1", f"{second}:2"]}


def test_the_limits_hold_for_all_packages() -> None:
    assert {"pool", "mapping", "check", "describe", "pytest_plugin"} <= set(PACKAGES)


SAMPLE = '''"""A docstring
of two lines."""

# a comment
import os  # counts


@decorated
class A:
    """Does not count."""

    text = """two

    lines and the blank one between"""

    async def method(self):  # 4 lines
        """Not
        counted."""

        # nor this, but it is a line of the function
        return os


def one(): "a docstring on the line of its function"
'''


def test_blank_lines_comments_and_docstrings_are_not_code_lines() -> None:
    assert code_lines(SAMPLE) == 9
    assert code_lines("") == 0


def test_a_function_is_measured_without_its_docstring(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SAMPLE)
    method, one = sorted(function_sizes(tmp_path / "a.py"), key=lambda each: each.line)
    assert (method.name, method.line, method.lines) == ("method", 16, 4)
    assert one.name == "one"


def test_functions_inside_functions_are_measured_too(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("def f():\n    def g():\n        pass\n    return g\n")
    assert {each.name: each.lines for each in function_sizes(file)} == {"f": 4, "g": 2}


@pytest.mark.parametrize(
    ("sizes", "expected"), [([7], 7), ([*range(1, 11)], 9), ([*range(11, 0, -1)], 10)]
)
def test_nine_in_ten_sizes_do_not_exceed_the_result(sizes: list[int], expected: int) -> None:
    assert nine_in_ten(sizes) == expected
    assert sum(size <= expected for size in sizes) >= 0.9 * len(sizes)


def test_the_report_names_the_longest_function_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text("def short():\n    pass\n")
    (tmp_path / "b.py").write_text("def long():\n    a = 1\n    return a\n")
    (tmp_path / "c.py").write_text("A = 1\n")
    assert main([str(tmp_path), str(tmp_path / "c.py")]) == 0
    first, longest, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith(": 6 code lines in 3 files, 2 functions, median 2.5 lines, p90 3 lines")
    assert longest.endswith("b.py:1 long")
    assert second.endswith("a.py:1 short")
    assert third.endswith("c.py: 1 code lines in 1 files, 0 functions")


def test_a_path_that_does_not_exist_is_an_error() -> None:
    assert main(["no/such/path"]) == 2
