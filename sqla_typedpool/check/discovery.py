"""Modules, packages, folders and files -> the queries they declare."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from sqla_typedpool.check.importing import (
    import_file,
    import_name,
    name_of_file,
    searched,
    to_standard_error,
)
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.queries import QueryInfo, declared

# A file that has no such word in it declares no query.
_OUR_NAME = b"sqla_typedpool"


class Discovered:
    """What was found: the modules that were imported, and their queries by name."""

    def __init__(
        self,
        roots: Sequence[str],
        modules: Sequence[ModuleType],
        queries: Sequence[QueryInfo],
    ) -> None:
        self.roots = tuple(roots)
        """The names of the modules and packages that were asked for."""
        self.modules = tuple(modules)
        self.queries = tuple(queries)

    @property
    def files(self) -> list[Path]:
        """The modules' Python files."""
        found = (getattr(module, "__file__", None) for module in self.modules)
        return sorted({Path(file) for file in found if file and file.endswith(".py")})


def discover(names: Sequence[str], exclude: Collection[str] = ()) -> Discovered:
    """Import modules, packages and folders with all that is below them, and ``.py`` files.

    What they print while they are imported goes to standard error.

    :param names: ``"app"``, ``"app.users"``, ``"src/app"``, ``"src/"`` or
        ``"scripts/report.py"``; the working directory is searched first, as by ``python -m``.
    :param exclude: modules that are left out, with all below them.
    :raises CannotRun: one of them cannot be imported.
    """
    searched(Path.cwd())
    search = _Search(tuple(exclude))
    with to_standard_error():
        roots = [root for name in names for root in search.add(name)]
    modules = search.modules
    queries = [info for info in declared() if _is_in(modules.get(info.module), info)]
    return Discovered(roots, tuple(modules.values()), sorted(queries, key=_position))


def _is_in(module: ModuleType | None, info: QueryInfo) -> bool:
    """Not so of a module that was imported anew: the old one's queries may still be there."""
    function: Any = info.function
    return module is not None and function.__globals__ is module.__dict__


def _position(info: QueryInfo) -> tuple[str, int, str]:
    return str(info.origin.file), info.origin.line, info.name


class _Search:
    """Imports, and remembers what was imported."""

    def __init__(self, exclude: tuple[str, ...]) -> None:
        self.modules: dict[str, ModuleType] = {}
        self._exclude = exclude

    def add(self, name: str) -> list[str]:
        """One of the names that were given: what is imported by it, and all below.

        :return: with what the names of modules begin that it stands for.
        """
        if not name:
            raise CannotRun("the name of a module is empty; next: name one, such as app.users")
        path = Path(name)
        if path.is_dir() and not (path / "__init__.py").is_file():
            return self._add_folder(path)
        if name.endswith(".py") or "/" in name or os.sep in name or not name.strip("."):
            return [self._add_file(path)]
        if not self._is_excluded(name):
            self._add(import_name(name))
        return [name]

    def _add_folder(self, folder: Path) -> list[str]:
        """One without ``__init__.py``: a package all the same, or what packages stand in."""
        roots = set()
        for parts, file in _loose(folder):
            name = self._add_file(file).split(".")
            roots.add(".".join(name[: -len(parts)] or name[:1]))
        return sorted(roots) or [str(folder)]

    def _add_file(self, path: Path) -> str:
        file = path / "__init__.py" if path.is_dir() else path
        name = name_of_file(file)
        if not self._is_excluded(name) and name not in self.modules:
            self._add(import_file(path))
        return name

    def _add(self, module: ModuleType) -> None:
        self.modules[module.__name__] = module
        for folder in getattr(module, "__path__", ()):
            for name in _below(Path(folder), module.__name__):
                if name not in self.modules and not self._is_excluded(name):
                    self._add(import_name(name))

    def _is_excluded(self, name: str) -> bool:
        return any(f"{name}.".startswith(f"{each}.") for each in self._exclude)


def _below(folder: Path, package: str) -> Iterator[str]:
    """The modules in a package's folder."""
    for each in pkgutil.iter_modules([str(folder)], f"{package}."):
        if each.name.rpartition(".")[2] != "__main__":  # to import it would run it
            yield each.name
    for inner in sorted(folder.iterdir()) if folder.is_dir() else ():
        if inner.is_dir() and inner.name.isidentifier() and not (inner / "__init__.py").exists():
            for parts, _ in _loose(inner):
                yield ".".join((package, inner.name, *parts))


def _loose(folder: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    """In a folder without ``__init__.py`` may be anything: only what knows us is imported.

    :return: the file, and its name seen from the folder.
    """
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if parts[-1] == "__main__" or not all(part.isidentifier() for part in parts):
            continue
        if _OUR_NAME in file.read_bytes():
            yield parts[:-1] if parts[-1] == "__init__" else parts, file
