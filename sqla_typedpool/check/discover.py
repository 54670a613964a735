"""Modules by name -> the queries they declare. Importing is all that runs of the user's code."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import pkgutil
import sys
import sysconfig
import traceback
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from sqla_typedpool.check.model import CannotRun
from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.query import QueryInfo, declared

__all__ = ["Discovered", "discover"]

# A file that has no such word in it declares no query.
_OUR_NAME = b"sqla_typedpool"
_NOT_OWN = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


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
    """Import modules, packages with all that is below them, and ``.py`` files.

    What they print while they are imported goes to standard error.

    :param names: ``"app"``, ``"app.users"``, ``"src/app"`` or ``"scripts/report.py"``; the
        working directory is searched first, as by ``python -m``.
    :param exclude: modules that are left out, with all below them.
    :raises CannotRun: one of them cannot be imported.
    """
    _search(Path.cwd())
    search = _Search(tuple(exclude))
    with contextlib.redirect_stdout(sys.stderr):
        roots = [search.add(name) for name in names]
    modules = search.modules
    queries = [info for info in declared() if info.module in modules]
    return Discovered(roots, tuple(modules.values()), sorted(queries, key=_position))


def _position(info: QueryInfo) -> tuple[str, int, str]:
    return str(info.origin.file), info.origin.line, info.name


def _search(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


class _Search:
    """Imports, and remembers what was imported."""

    def __init__(self, exclude: tuple[str, ...]) -> None:
        self.modules: dict[str, ModuleType] = {}
        self._exclude = exclude

    def add(self, name: str) -> str:
        """One of the names that were given: what is imported by it, and all below."""
        if name.endswith(".py") or "/" in name or os.sep in name:
            module = _import_path(Path(name))
        else:
            module = _import(name)
        self._add(module)
        return module.__name__

    def _add(self, module: ModuleType) -> None:
        self.modules[module.__name__] = module
        for folder in getattr(module, "__path__", ()):
            for name in _below(Path(folder), module.__name__):
                if name not in self.modules and not self._is_excluded(name):
                    self._add(_import(name))

    def _is_excluded(self, name: str) -> bool:
        return any(f"{name}.".startswith(f"{each}.") for each in self._exclude)


def _below(folder: Path, package: str) -> Iterator[str]:
    """The modules in a package's folder."""
    for each in pkgutil.iter_modules([str(folder)], f"{package}."):
        if each.name.rpartition(".")[2] != "__main__":  # to import it would run it
            yield each.name
    for inner in sorted(folder.iterdir()) if folder.is_dir() else ():
        if inner.is_dir() and inner.name.isidentifier() and not (inner / "__init__.py").exists():
            yield from _loose(inner, f"{package}.{inner.name}")


def _loose(folder: Path, package: str) -> Iterator[str]:
    """In a folder without ``__init__.py`` may be anything: only what knows us is imported."""
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if all(part.isidentifier() for part in parts) and _OUR_NAME in file.read_bytes():
            yield ".".join((package, *parts))


def _import(name: str) -> ModuleType:
    with _explained(name):
        return importlib.import_module(name)


def _import_path(path: Path) -> ModuleType:
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise CannotRun(
            f"there is no file {file}; next: name a module (app.users), a package or a .py file"
        )
    home, name = _seen_from(file.resolve())
    with _explained(str(path)):
        if not name:
            return _import_by_file(file)
        _search(home)
        module = importlib.import_module(name)
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != file.resolve():
        raise CannotRun(f"{path} cannot be imported: {name} is {found or 'built in'}")
    return module


def _seen_from(file: Path) -> tuple[Path, str]:
    """The folder to search, and the module's name: from above its package, else from here on.

    The name is "" where it cannot have one.
    """
    packages = [each for each in file.parents if (each / "__init__.py").is_file()]
    here = Path.cwd().resolve()
    home = here if here in file.parents else file.parent
    if packages:
        home = next(each for each in packages[0].parents if each not in packages)
    parts = file.relative_to(home).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return home, ".".join(parts) if all(part.isidentifier() for part in parts) else ""


def _import_by_file(file: Path) -> ModuleType:
    """``odd-name.py``, which no import statement can name."""
    name = file.stem
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise CannotRun(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Whatever a module raises while it is imported becomes one sentence."""
    try:
        yield
    except (CannotRun, KeyboardInterrupt):
        raise
    except DeclarationError as error:
        raise CannotRun(str(error)) from error
    except BaseException as error:
        raise CannotRun(_why_not(name, error)) from error


def _why_not(name: str, error: BaseException) -> str:
    missing = getattr(error, "name", None)
    if isinstance(error, ModuleNotFoundError) and missing and f"{name}.".startswith(f"{missing}."):
        return (
            f"there is no module {name} (searched from {Path.cwd()}); next: run this where "
            f"`python -c 'import {missing}'` works, or name another module"
        )
    said = str(error).strip().splitlines()
    words = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
    return (
        f"{name} cannot be imported: {words}{_raised_at(error)}; next: mend it, or leave it out "
        "with --exclude"
    )


def _raised_at(error: BaseException) -> str:
    """The last line of the application's own code that was running."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = [
        each
        for each in traceback.extract_tb(error.__traceback__)
        if not each.filename.startswith("<") and each.filename != __file__
    ]
    own = [each for each in frames if not each.filename.startswith(_NOT_OWN)] or frames
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
