"""The functions of the core packages stay within limits on their size."""

from __future__ import annotations

import statistics
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

PACKAGES = ["pool", "fetch", "_sqlalchemy"]


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_short(package: str) -> None:
    files = python_files([PACKAGE_ROOT / package])
    functions = [size for file in files for size in function_sizes(file)]
    sizes = [each.lines for each in functions]
    assert [str(each) for each in functions if each.lines > 50] == []
    assert statistics.median(sizes) <= 8
    assert nine_in_ten(sizes) <= 25


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


def test_blank_lines_comments_and_docstrings_are_no_code() -> None:
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
def test_nine_in_ten_sizes_are_no_larger(sizes: list[int], expected: int) -> None:
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
