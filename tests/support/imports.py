"""What the files of the package import. The source is read and never run.

Imports inside functions and under `if TYPE_CHECKING` count like any other: a file depends on
whatever it names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "sqla_typedpool"
ROOT = Path(__file__).parents[2]
PACKAGE_ROOT = ROOT / PACKAGE


@dataclass(frozen=True)
class Import:
    """One import of a module; `names` is what `from module import ...` takes from it."""

    module: str
    names: tuple[str, ...]
    line: int
    relative: bool = False
    types_only: bool = False

    @property
    def top(self) -> str:
        """The top-level package that is imported."""
        return self.module.partition(".")[0]


def imports_of(path: Path, package_root: Path) -> Iterator[Import]:
    """Every import of one file, with relative module names made absolute."""
    parents = (PACKAGE, *path.relative_to(package_root).parts[:-1])
    tree = ast.parse(path.read_text())
    types_only = {id(node) for block in _type_checking_blocks(tree) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno, False, id(node) in types_only)
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) - node.level + 1] if node.level else ()
            module = ".".join((*above, *filter(None, [node.module])))
            names = tuple(alias.name for alias in node.names)
            yield Import(module, names, node.lineno, node.level > 0, id(node) in types_only)


def _type_checking_blocks(tree: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from node.body


def module_graph(package_root: Path) -> dict[str, set[str]]:
    """Which modules of the package each module imports.

    `from package import name` leads to the module `package.name` if there is one, else to the
    `__init__` of `package`. An `__init__` that imports its own submodules depends on nothing by
    that: such imports are left out.
    """
    modules = {_module_name(path, package_root): path for path in package_root.rglob("*.py")}
    return {
        module: {
            target
            for imported in imports_of(path, package_root)
            for target in _targets(imported, modules)
            if target != module
            and not (path.name == "__init__.py" and target.startswith(f"{module}."))
        }
        for module, path in modules.items()
    }


def _module_name(path: Path, package_root: Path) -> str:
    parts = path.relative_to(package_root).with_suffix("").parts
    return ".".join((PACKAGE, *parts)).removesuffix(".__init__")


def _targets(imported: Import, modules: Mapping[str, object]) -> Iterator[str]:
    if not imported.names:
        candidates = [imported.module]
    else:
        inner = [f"{imported.module}.{name}" for name in imported.names]
        candidates = [name if name in modules else imported.module for name in inner]
    return (name for name in candidates if name in modules)


def circles(graph: Mapping[str, Iterable[str]]) -> set[frozenset[str]]:
    """The import circles: the largest sets of modules that all reach each other."""
    reached = {module: _reachable(graph, module) for module in graph}
    return {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in graph
        if module in reached[module]
    }


def _reachable(graph: Mapping[str, Iterable[str]], start: str) -> set[str]:
    found: set[str] = set()
    open_ends = [start]
    while open_ends:
        new = set(graph[open_ends.pop()]) - found
        found |= new
        open_ends += new
    return found
