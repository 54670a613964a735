"""The links, paths and test names of the documentation exist.

test_snippets.py runs its examples.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.mapping_lab import rule_table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
TYPED_RESULTS = DOCS / "guide" / "typed-results.md"
PRIVATES = DOCS / "internals" / "sqlalchemy.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "examples").glob("*/README.md")),
    *sorted(DOCS.rglob("*.md")),
]


def name_of(file: Path) -> str:
    """The path of a file from the root of the repository."""
    return file.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def test_the_rule_table_in_the_documentation_is_the_one_of_the_code() -> None:
    page = TYPED_RESULTS.read_text()
    shown = re.search(r"<!-- the rule table: .*? -->\n(.*?)\n<!--", page, re.DOTALL)
    assert shown is not None
    assert shown[1] == rule_table(), "print rule_table() and paste it"


# ------------------------------------------------------------------------------ links and paths

LINK = re.compile(r"\]\((?!https?:)([^)\s]*)\)|^\[[\w-]+\]: (?!https?:)(\S+)$", re.MULTILINE)

# Files that name paths of this repository, from its root.
FILES_WITH_PATHS = [
    ROOT / "setup.cfg",
    ROOT / "pyproject.toml",
    ROOT / "Makefile",
    ROOT / ".ci" / "run",
    *PAGES,
]
FOLDERS = ("tests", "docs", "sqla_typedpool", "examples", "benchmarks")
PATH = re.compile(rf"(?<![\w/.\[@-])(?:{'|'.join(FOLDERS)})/[\w./*-]*[\w*/]")
MODULE = re.compile(rf"(?<![\w/.])(?:{'|'.join(FOLDERS)})(?:\.[a-z_]\w*)+")
# Code, settings and files of the reader's own project.
READERS_PATHS = {"tests/test_users.py"}
READERS_BLOCKS = re.compile(
    r"^```(?:python|toml|diff)\n.*?^```$|<!-- (?:hidden|file).*?-->", re.MULTILINE | re.DOTALL
)


def broken_links(page: Path) -> list[str]:
    """Return the links of a page to files or headings that do not exist."""
    links = [found[1] or found[2] for found in LINK.finditer(page.read_text())]
    return [link for link in links if not leads_somewhere(page, link)]


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return False
    return not heading or heading in anchors(target)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def missing_paths(text: str, folder: Path = ROOT) -> list[str]:
    """Return the paths and modules that a text names and that do not exist.

    :param folder: paths may also be relative to this folder.
    """
    text = READERS_BLOCKS.sub("", text)
    paths = sorted(set(PATH.findall(text)) - READERS_PATHS)
    missing = [path for path in paths if not path_exists(path, ROOT, folder)]
    return missing + [module for module in MODULE.findall(text) if not module_exists(module)]


def path_exists(path: str, *folders: Path) -> bool:
    """Whether a path, which may contain wildcards, exists in one of the folders."""
    return any(any(folder.glob(path.rstrip("/."))) for folder in folders)


def module_exists(dotted: str) -> bool:
    """Whether a dotted name is a module, a package, a file, or an attribute of a module."""
    path = ROOT / dotted.replace(".", "/")
    candidates = [path, path.with_suffix(".py"), path.parent, path.parent.with_suffix(".py")]
    return (ROOT / dotted).exists() or any(each.exists() for each in candidates)


@every_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("file", FILES_WITH_PATHS, ids=name_of)
def test_every_path_that_a_file_names_exists(file: Path) -> None:
    assert missing_paths(file.read_text(), file.parent) == []


@pytest.mark.parametrize(
    "text",
    [
        "read `docs/nowhere.md`",
        "[a page](docs/nowhere.md)",
        "pytest tests/nowhere/test_x.py -s",
        'files = ["sqla_typedpool/nowhere"]',
        '"tests/nowhere/**" = ["T201"]',
        "python -m tests.nowhere.command",
        "requirement_cls = tests.nowhere.requirements:Requirements",
    ],
)
def test_a_path_that_does_not_exist_is_found(text: str) -> None:
    assert len(missing_paths(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "docs/tutorial.md, tests/pool and examples/bookshop/.",
        '"sqla_typedpool/cli/**" = ["T201"]',
        "python -m tests.support.code_size sqla_typedpool/pool",
        "https://example.org/docs/nowhere.html",
        "`sqla_typedpool.errors.PoolTimeout`",
    ],
)
def test_a_path_that_exists_is_accepted(text: str) -> None:
    assert missing_paths(text) == []


def test_a_link_to_a_missing_heading_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One Title: `code`\n[a](#one-title-code) [b](#other) [c](page.md#other)\n")
    assert broken_links(page) == ["#other", "page.md#other"]


# ------------------------------------------------------------------- private names of SQLAlchemy


def privates_of(source: str) -> set[str]:
    """Return the private attributes that a file uses of other objects."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and re.match(r"_[^_]", node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }


# The modules of _sqlalchemy/ that typed results and the checker use.
MODULES = (
    *("eligibility", "driver_statement", "asyncpg_adapter", "driver_errors", "results"),
    "compiling",
)


def test_every_private_name_of_sqlalchemy_that_typed_results_use_is_listed() -> None:
    package = ROOT / "sqla_typedpool" / "_sqlalchemy"
    used = privates_of("\n".join((package / f"{name}.py").read_text() for name in MODULES))
    page = PRIVATES.read_text()
    assert sorted(name for name in used if not re.search(rf"\b{name}\b", page)) == []
    assert "_compile_w_cache" in used


# ---------------------------------------------------------------------------------- test names


def quoted_tests(page: str, folder: Path) -> list[tuple[Path, str]]:
    """Return the tests that a page names: links to files, followed by parts of test names."""
    targets = dict(re.findall(r"^\[(\w+)\]: (\S+\.py)$", page, re.MULTILINE))
    found: list[tuple[Path, str]] = []
    pattern = r"\[(\w+)\](?:\((\S+?\.py)\))?:?\s*((?:`[\w ]+`[,\s]*)+)"
    for name, link, parts in re.findall(pattern, page):
        target = link or targets.get(name)
        if target is not None:
            file = (folder / target).resolve()
            found += [(file, part) for part in re.findall(r"`([\w ]+)`", parts)]
    return found


def names_a_test(file: Path, part: str) -> bool:
    """Whether a test of this file, or the id of a parameter, has this part in its name."""
    source = file.read_text()
    return f'"{part}"' in source or bool(re.search(rf"\btest_\w*{part}", source))


QUOTING = [page for page in PAGES if quoted_tests(page.read_text(), page.parent)]


@pytest.mark.parametrize("page", QUOTING, ids=name_of)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    quoted = quoted_tests(page.read_text(), page.parent)
    missing = [f"{file.name}: {part}" for file, part in quoted if not names_a_test(file, part)]
    assert missing == []


def test_the_pages_about_the_pool_name_tests() -> None:
    expected = ["reference/guarantees", "reference/drivers", "operating/deployment"]
    assert {DOCS / f"{page}.md" for page in expected} <= {*QUOTING}
