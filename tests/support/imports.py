"""The imports of the files of the package. The source is parsed and not run.

Imports inside functions and under `if TYPE_CHECKING` count like all others.
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
    """One import of a module; `names` are the names in `from module import names`."""

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
    """Yield the imports of one file, with absolute module names."""
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
    """Return for each module of the package the modules that it imports.

    `from package import name` means the module `package.name` if there is one, else the `__init__`
    of `package`. The imports of an `__init__` from its own package are left out.
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
    """Return the import circles: the largest sets of modules that all import each other, directly
    or through others.
    """
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
