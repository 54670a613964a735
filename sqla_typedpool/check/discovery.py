"""Find declared queries: import modules, packages, folders and files."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from sqla_typedpool.check.importing import (
    import_file,
    import_name,
    is_path,
    name_of_file,
    output_to_stderr,
    search_first,
)
from sqla_typedpool.errors import CannotRun, DeclarationError
from sqla_typedpool.queries import QueryInfo, declared
from sqla_typedpool.queries.declare import collect_errors

T = TypeVar("T")

# A file that does not contain this name declares no query.
_PACKAGE = b"sqla_typedpool"


@dataclass(frozen=True)
class Discovered:
    """The modules that were imported, and what they declare."""

    # The names of the modules and packages that the user named.
    roots: tuple[str, ...]
    modules: tuple[ModuleType, ...]

    # The declared queries, by file and line.
    queries: tuple[QueryInfo, ...]

    # The errors of the declarations that ``@query`` did not accept.
    errors: tuple[DeclarationError, ...] = ()

    @property
    def files(self) -> list[Path]:
        """The Python files of the modules."""
        found = (getattr(module, "__file__", None) for module in self.modules)
        return sorted({Path(file) for file in found if file and file.endswith(".py")})


def discover(names: Sequence[str], exclude: Collection[str] = ()) -> Discovered:
    """Import modules, packages and folders with everything below them, and ``.py`` files.

    Whatever they print during the import goes to standard error. The working directory is
    searched first, as with ``python -m``. A faulty declaration does not stop the import.

    :param names: such as ``"app"``, ``"app.users"``, ``"src/app"``, ``"src/"`` or
        ``"scripts/report.py"``.
    :param exclude: names of modules to leave out, with everything below them.
    :raises CannotRun: modules cannot be imported. The message names all of them, and all
        faulty declarations.
    """
    search_first(Path.cwd())
    search = _Search(tuple(exclude))
    with output_to_stderr(), collect_errors() as collected:
        roots = [root for name in names for root in search.add(name)]
    # a module that cannot be imported may have been tried several times
    errors = list({str(each): each for each in collected}.values())
    _raise_failures(search.failures, errors)
    modules = search.modules
    queries = [info for info in declared() if _is_declared_in(modules.get(info.module), info)]
    in_order = sorted(queries, key=_position)
    return Discovered(tuple(roots), tuple(modules.values()), tuple(in_order), tuple(errors))


def _raise_failures(failures: list[CannotRun], errors: list[DeclarationError]) -> None:
    if not failures:
        return
    if len(failures) == 1 and not errors:
        raise failures[0]
    faults = [str(each).replace("\n", "\n  ") for each in (*failures, *errors)]
    raise CannotRun("\n- ".join([f"there are {len(faults)} errors:", *faults])) from failures[0]


def _is_declared_in(module: ModuleType | None, info: QueryInfo) -> bool:
    """Return whether it is a query of this module object.

    If a module was imported again, queries of the old module object may still exist.
    """
    function: Any = info.function
    return module is not None and function.__globals__ is module.__dict__


def _position(info: QueryInfo) -> tuple[str, int, str]:
    return str(info.origin.file), info.origin.line, info.name


class _Search:
    """Imports modules, and keeps them and the errors of those that cannot be imported."""

    def __init__(self, exclude: tuple[str, ...]) -> None:
        self.modules: dict[str, ModuleType] = {}
        self._failures: dict[str, CannotRun] = {}
        self._exclude = exclude

    @property
    def failures(self) -> list[CannotRun]:
        return list(self._failures.values())

    def add(self, name: str) -> list[str]:
        """Import what a name of the user stands for, with everything below it.

        :return: the names of the modules and packages that it stands for.
        """
        if not is_path(name):
            if not self._is_excluded(name):
                self._add(import_name, name)
            return [name]
        path = Path(name)
        if path.is_dir() and not (path / "__init__.py").is_file():
            return self._add_folder(path)
        return [self._add_file(path)]

    def _add_folder(self, folder: Path) -> list[str]:
        """Import a folder without ``__init__.py``: a package, or a folder that has packages."""
        roots = set()
        for parts, file in _own_files(folder):
            name = self._add_file(file).split(".")
            roots.add(".".join(name[: -len(parts)] or name[:1]))
        return sorted(roots) or [str(folder)]

    def _add_file(self, path: Path) -> str:
        file = path / "__init__.py" if path.is_dir() else path
        name = name_of_file(file)
        if not self._is_excluded(name) and name not in self.modules:
            self._add(import_file, path)
        return name

    def _add(self, import_it: Callable[[T], ModuleType], what: T) -> None:
        try:
            module = import_it(what)
        except CannotRun as error:
            # a broken module also breaks the modules that import it: keep its error once
            reason = str(error).partition(" cannot be imported")[2] or str(error)
            self._failures.setdefault(reason, error)
            return
        self.modules[module.__name__] = module
        for folder in getattr(module, "__path__", ()):
            for name in _modules_below(Path(folder), module.__name__):
                if name not in self.modules and not self._is_excluded(name):
                    self._add(import_name, name)

    def _is_excluded(self, name: str) -> bool:
        return any(f"{name}.".startswith(f"{each}.") for each in self._exclude)


def _modules_below(folder: Path, package: str) -> Iterator[str]:
    """Yield the names of the modules in a package's folder."""
    for each in pkgutil.iter_modules([str(folder)], f"{package}."):
        if each.name.rpartition(".")[2] != "__main__":  # importing it would run it
            yield each.name
    for inner in sorted(folder.iterdir()) if folder.is_dir() else ():
        if inner.is_dir() and inner.name.isidentifier() and not (inner / "__init__.py").exists():
            for parts, _ in _own_files(inner):
                yield ".".join((package, inner.name, *parts))


def _own_files(folder: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield the files of a folder without ``__init__.py`` that mention this package.

    Such a folder can contain any kind of script, so other files are not imported.

    :return: the module's name seen from the folder, in parts, and the file.
    """
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if parts[-1] == "__main__" or not all(part.isidentifier() for part in parts):
            continue
        if _PACKAGE in file.read_bytes():
            yield parts[:-1] if parts[-1] == "__init__" else parts, file
