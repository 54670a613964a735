"""Modules by name -> the queries they declare. Importing is all that runs of the user's code."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from sqla_typedpool.check.model import CannotRun
from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.query import QueryInfo, declared

__all__ = ["Discovered", "discover"]


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


def discover(names: Sequence[str]) -> Discovered:
    """Import modules, packages with all that is below them, and ``.py`` files.

    What they print while they are imported goes to standard error.

    :param names: ``"app"``, ``"app.users"`` or ``"scripts/report.py"``; the working
        directory is searched first, as by ``python -m``.
    :raises CannotRun: one of them cannot be imported.
    """
    _search_working_directory()
    modules: dict[str, ModuleType] = {}
    roots: list[str] = []
    with contextlib.redirect_stdout(sys.stderr):
        for name in names:
            found = list(_imported(name))
            roots.append(found[0].__name__)
            modules |= {module.__name__: module for module in found}
    queries = [info for info in declared() if info.module in modules]
    return Discovered(roots, tuple(modules.values()), sorted(queries, key=_position))


def _position(info: QueryInfo) -> tuple[str, int, str]:
    return str(info.origin.file), info.origin.line, info.name


def _search_working_directory() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _imported(name: str) -> Iterator[ModuleType]:
    if name.endswith(".py") or "/" in name:
        yield _import_file(Path(name))
        return
    package = _import(name)
    yield package
    for below in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{package.__name__}."):
        if below.name.rpartition(".")[2] != "__main__":  # to import it would run it
            yield _import(below.name)


def _import(name: str) -> ModuleType:
    with _explained(name):
        return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise CannotRun(f"there is no file {path}; next: name a module (app.users) or a .py file")
    name = _dotted(path) or path.stem
    with _explained(str(path)):
        if _dotted(path):
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise CannotRun(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module


def _dotted(path: Path) -> str:
    """The module's name as seen from the working directory; "" where it has none."""
    with contextlib.suppress(ValueError):
        parts = path.resolve().relative_to(Path.cwd()).with_suffix("").parts
        if all(part.isidentifier() for part in parts):
            return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return ""


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
    return f"{name} cannot be imported: {words}{_raised_at(error)}"


def _raised_at(error: BaseException) -> str:
    """The last line of the application's own code that was running."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if not _is_machinery(each.filename)]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


def _is_machinery(file: str) -> bool:
    return file.startswith("<frozen") or file == __file__ or file == importlib.__file__
