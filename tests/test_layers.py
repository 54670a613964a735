"""The house's walls: a file imports from lower floors or its own room, and nothing else.

The floors are drawn in docs/architecture.md. Imports are read, not run, function bodies and
`if TYPE_CHECKING` included: a name is known to a file whenever it stands in it. One exception is
listed in TYPES_OF: an error may name the type of what it carries.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "sqla_typedpool"
ROOT = Path(__file__).parents[1]

LAYERS = {
    "errors": 0,
    "_sqlalchemy": 1,
    "tokens": 1,
    "pool": 2,
    "mapping": 2,
    "statement": 2,
    "fetch": 3,
    "query": 4,
    "check": 5,
    "cli": 6,
    "__main__": 6,
    "demo": 6,
    "embedded": 6,
    "ephemeral": 6,
    "pytest_plugin": 6,
    "integrations": 6,
}
LEAVES = {room for room, layer in LAYERS.items() if layer == 6}
# Rooms of the top floor that others there may enter: a command line starts what it offers.
MAY_ENTER = {
    "__main__": {"cli"},
    "cli": {"demo", "embedded", "ephemeral"},
    "demo": {"embedded"},
    "ephemeral": {"embedded"},
    "pytest_plugin": {"cli", "embedded", "ephemeral"},
}
# Upward imports that are for the type checker alone.
TYPES_OF = {"errors": {"pool"}}
# The drivers' own types are known to the room that describes their databases.
THIRD_PARTIES_ALLOWED = ("check/describe/",)


@dataclass(frozen=True)
class Import:
    """One imported module, `names` being what is taken out of it."""

    module: str
    names: tuple[str, ...]
    line: int
    types_only: bool = False

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports_of(path: Path, package_root: Path) -> Iterator[Import]:
    """Every import of a file, relative ones made absolute, inside functions too."""
    parents = (PACKAGE, *path.relative_to(package_root).parts[:-1])
    tree = ast.parse(path.read_text())
    types_only = {id(node) for block in type_checking_blocks(tree) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno, id(node) in types_only)
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) - node.level + 1] if node.level else ()
            module = ".".join((*above, *filter(None, [node.module])))
            names = tuple(alias.name for alias in node.names)
            yield Import(module, names, node.lineno, id(node) in types_only)


def type_checking_blocks(tree: ast.AST) -> Iterator[ast.stmt]:
    """The statements under every `if TYPE_CHECKING:`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from node.body


def rooms_of(imported: Import) -> set[str]:
    """The rooms of our package that an import enters; "" is the package itself."""
    _, *inner = imported.module.split(".")
    if inner:
        return {inner[0]}
    return {name if name in LAYERS else "" for name in imported.names} or {""}


def complaints(package_root: Path) -> list[str]:
    """Every broken rule of a tree, as `file:line: what`."""
    found: list[str] = []
    for path in sorted(package_root.rglob("*.py")):
        file = path.relative_to(package_root).as_posix()
        for imported in imports_of(path, package_root):
            found += [f"{file}:{imported.line}: {what}" for what in broken(file, imported)]
    return found


def broken(file: str, imported: Import) -> Iterator[str]:
    """What is wrong with one import of one file."""
    room = file.partition("/")[0].removesuffix(".py")
    if imported.top == PACKAGE:
        if file != "__init__.py":
            yield from broken_floors(room, imported)
    elif imported.top == "sqlalchemy":
        yield from broken_sqlalchemy(file, room, imported)
    elif imported.top == "typing_extensions" and imported.types_only:
        pass  # SQLAlchemy brings it along, and only type checkers read it here
    elif imported.top not in sys.stdlib_module_names:
        yield from broken_third_party(file, room, imported)
    if file == "pool/slots.py" and imported.top not in sys.stdlib_module_names:
        yield f"slots knows the standard library only, not {imported.module}"


def broken_floors(room: str, imported: Import) -> Iterator[str]:
    if room not in LAYERS:
        yield f"{room} stands on no floor: add it to LAYERS"
        return
    named = TYPES_OF.get(room, set()) if imported.types_only else set()
    welcome = MAY_ENTER.get(room, set()) | named
    for other in rooms_of(imported) - {room} - welcome:
        if other == "":
            if room not in LEAVES:
                yield "imports the package itself, which imports everything"
        elif other not in LAYERS:
            yield f"imports {other}, which stands on no floor"
        elif room == "mapping" and other != "errors":
            yield f"mapping knows errors alone, not {other}"
        elif LAYERS[other] >= LAYERS[room]:
            yield f"{room} (floor {LAYERS[room]}) imports {other} (floor {LAYERS[other]})"


def broken_sqlalchemy(file: str, room: str, imported: Import) -> Iterator[str]:
    if room == "mapping":
        yield "mapping knows no SQLAlchemy"
    if room == "errors" and set(taken_from(imported)) != {"sqlalchemy.exc"}:
        yield "errors knows sqlalchemy.exc alone"
    if room == "_sqlalchemy":
        return
    for name in taken_from(imported):
        if name.startswith(("sqlalchemy.util", "sqlalchemy.pool.base")):
            yield f"{name} is for _sqlalchemy alone"
        elif any(part.startswith("_") for part in (*name.split("."), *imported.names)):
            yield f"{imported.module} {imported.names}: private names are for _sqlalchemy alone"


def taken_from(imported: Import) -> list[str]:
    """The modules an import names: `from sqlalchemy import exc` is sqlalchemy.exc."""
    if imported.module == "sqlalchemy" and imported.names:
        return [f"sqlalchemy.{name}" for name in imported.names]
    return [imported.module]


def broken_third_party(file: str, room: str, imported: Import) -> Iterator[str]:
    if room == "_sqlalchemy" and imported.top == "greenlet":
        return
    if room not in LEAVES and not file.startswith(THIRD_PARTIES_ALLOWED):
        yield f"imports {imported.top}: only leaves know third parties"


def test_every_import_stays_within_its_walls() -> None:
    assert complaints(ROOT / PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("pool/a.py", "from ..fetch import api", "pool (floor 2) imports fetch (floor 3)"),
        ("pool/a.py", "from sqla_typedpool import fetch", "imports fetch"),
        ("pool/a.py", "import sqla_typedpool.mapping", "pool (floor 2) imports mapping (floor 2)"),
        ("pool/a.py", "from .. import statement", "imports statement (floor 2)"),
        ("pool/a.py", "from .. import TypedPool", "imports the package itself"),
        ("pool/a.py", "def f():\n    import asyncpg", "a.py:2: imports asyncpg"),
        ("pool/a.py", "from sqlalchemy.util import concurrency", "_sqlalchemy alone"),
        ("pool/a.py", "from sqlalchemy import util", "_sqlalchemy alone"),
        ("pool/a.py", "from sqlalchemy.pool.base import Pool", "_sqlalchemy alone"),
        ("pool/a.py", "from sqlalchemy.pool import _ConnectionRecord", "private names"),
        ("pool/a.py", "from sqlalchemy.engine._py_row import BaseRow", "private names"),
        ("pool/a.py", "import greenlet", "only leaves know third parties"),
        ("pool/slots.py", "from .options import Options", "slots knows the standard library only"),
        ("mapping/a.py", "import sqlalchemy", "mapping knows no SQLAlchemy"),
        ("mapping/a.py", "from .._sqlalchemy import x", "mapping knows errors alone"),
        ("errors.py", "from sqlalchemy import orm", "errors knows sqlalchemy.exc alone"),
        ("errors.py", "from ._sqlalchemy import x", "errors (floor 0) imports _sqlalchemy"),
        ("errors.py", "from .pool.stats import PoolStats", "errors (floor 0) imports pool"),
        ("newroom.py", "from . import errors", "newroom stands on no floor"),
        ("__init__.py", "import rich", "only leaves know third parties"),
        ("embedded/a.py", "from ..demo import x", "embedded (floor 6) imports demo (floor 6)"),
    ],
)
def test_a_hole_in_a_wall_is_found(tmp_path: Path, file: str, source: str, complaint: str) -> None:
    write(tmp_path / file, source)
    (found,) = complaints(tmp_path)
    assert complaint in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("__init__.py", "from .query import query\nfrom .pool import TypedPool"),
        ("errors.py", "from sqlalchemy import exc"),
        ("errors.py", "from sqlalchemy.exc import TimeoutError"),
        ("errors.py", "if TYPE_CHECKING:\n    from .pool.stats import PoolStats"),
        ("_sqlalchemy.py", "from sqlalchemy.pool.base import _ConnectionRecord\nimport greenlet"),
        ("pool/deep/a.py", "from ..slots import Slots\nfrom ... import errors, _sqlalchemy"),
        ("mapping/a.py", "from ..errors import RowShapeError\nfrom . import rules"),
        ("check/describe/a.py", "import asyncpg"),
        ("demo/a.py", "import rich\nfrom ..embedded import Postgres\nfrom .. import TypedPool"),
        ("cli.py", "from .demo import main\nfrom sqlalchemy.ext.asyncio import AsyncEngine"),
    ],
)
def test_what_the_plan_allows_is_allowed(tmp_path: Path, file: str, source: str) -> None:
    write(tmp_path / file, source)
    assert complaints(tmp_path) == []


def write(path: Path, source: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
