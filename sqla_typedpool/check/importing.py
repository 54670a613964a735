"""Import the user's modules by name or by file. No other code of the user is run."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from sqla_typedpool.check.environment import install_hint
from sqla_typedpool.errors import CannotRun, DeclarationError
from sqla_typedpool.secrets import mask_secrets

LIBRARY_FOLDERS = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def search_first(folder: Path) -> None:
    """Add a folder at the start of the module search path."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def output_to_stderr() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which modules print to standard error, not into our report."""
    return contextlib.redirect_stdout(_StandardError())


class _StandardError:
    """Standard error. Modules may close this object; the stream stays open."""

    def close(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


def is_path(name: str) -> bool:
    """Return whether a user gave a path, such as ``src/app``, and not the name of a module.

    :raises CannotRun: the name is empty.
    """
    if not name:
        raise CannotRun("the name of a module is empty; next: name one, such as app.users")
    path = Path(name)
    if path.is_dir() and not (path / "__init__.py").is_file():
        return True
    return name.endswith(".py") or "/" in name or os.sep in name or not name.strip(".")


def require_module(name: str) -> None:
    """Check that a module, package, folder or file exists, without importing it.

    :param name: as a user gave it, such as ``"app.users"`` or ``"src/app"``.
    :raises CannotRun: it does not exist, or the name is empty.
    """
    if is_path(name):
        if not Path(name).exists():
            raise CannotRun(_no_file(Path(name)))
        return
    search_first(Path.cwd())
    missing = _missing_part(name)
    if missing is not None:
        raise CannotRun(_no_module(name, missing))


def _missing_part(name: str) -> str | None:
    """Return the package or module of a dotted name that does not exist, or None."""
    top, *below = name.split(".")
    if not all(part.isidentifier() for part in (top, *below)):
        return name
    spec = importlib.util.find_spec(top)
    found = top
    for part in below:
        if spec is None:
            break
        found += f".{part}"
        spec = PathFinder.find_spec(found, list(spec.submodule_search_locations or ()))
    return found if spec is None else None


def import_name(name: str) -> ModuleType:
    """Import a module by its name.

    :raises CannotRun: the module cannot be imported.
    """
    with _as_cannot_run(name):
        return importlib.import_module(name)


def import_file(path: Path) -> ModuleType:
    """Import a module by its file, or a package by its folder.

    :raises CannotRun: there is no such file, or it cannot be imported.
    """
    file = (path / "__init__.py" if path.is_dir() else path).resolve()
    if not file.is_file():
        raise CannotRun(_no_file(path))
    folder, name = _folder_and_name(file)
    with _as_cannot_run(str(path)):
        if not name:
            return _import_by_file(file)
        search_first(folder)
        module = importlib.import_module(name)
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != file:
        raise CannotRun(
            f"{path} cannot be imported, because the module {name} is {found or 'built in'}; next: "
            "rename the file, or give the name under which the application imports it"
        )
    return module


def name_of_file(file: Path) -> str:
    """Return the name under which `import_file` imports a file."""
    file = file.resolve()
    return _folder_and_name(file)[1] or file.stem


def _folder_and_name(file: Path) -> tuple[Path, str]:
    """Return the folder to search, and the module's name seen from there.

    The folder is the one that contains the package of the file. Without a package it is the
    working directory or, outside of it, the folder of the file. The name is "" if the file's
    path is not a valid module name.
    """
    packages = [each for each in file.parents if (each / "__init__.py").is_file()]
    here = Path.cwd().resolve()
    folder = here if here in file.parents else file.parent
    if packages:
        folder = next(each for each in packages[0].parents if each not in packages)
    parts = file.relative_to(folder).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return folder, ".".join(parts) if all(part.isidentifier() for part in parts) else ""


def _import_by_file(file: Path) -> ModuleType:
    """Import ``odd-name.py``, which an import statement cannot name."""
    name = file.stem
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise CannotRun(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _as_cannot_run(name: str) -> Iterator[None]:
    """Convert everything that a module raises during its import to `CannotRun`."""
    folder = Path.cwd()
    try:
        yield
    except (CannotRun, KeyboardInterrupt):
        raise
    except DeclarationError as error:
        raise CannotRun(str(error)) from error
    except BaseException as error:
        raise CannotRun(_import_failure(name, error)) from error
    finally:
        os.chdir(folder)  # the module may have changed the working directory


def _import_failure(name: str, error: BaseException) -> str:
    missing = getattr(error, "name", None)
    if isinstance(error, ModuleNotFoundError) and missing and f"{name}.".startswith(f"{missing}."):
        return _no_module(name, missing)
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    lines = message.strip().splitlines()
    reason = f"{type(error).__name__}: {mask_secrets(lines[0])}" if lines else type(error).__name__
    return (
        f"{name} cannot be imported: {reason}{_raised_at(error)}; next: {_correction(error)}, or "
        "exclude it with --exclude"
    )


def _correction(error: BaseException) -> str:
    """Return what to do about an error of an import: about the environment, or the module."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        if top not in sys.modules and importlib.util.find_spec(top) is None:
            package = f"the package that has the module {top}"
            return install_hint(package, f"install {package} where this command runs: {sys.prefix}")
    elif isinstance(error, ImportError) and error.name is None:  # a library names what is missing
        return install_hint("what is missing", "install it, or correct the module")
    return "correct the module"


def _no_module(name: str, missing: str) -> str:
    return (
        f"there is no module {name} (searched from {Path.cwd()}); next: run this in a folder "
        f"where `python -c 'import {missing}'` works, or correct the name"
    )


def _no_file(path: Path) -> str:
    return f"there is no file {path}; next: name a module (app.users), a package or a .py file"


def _raised_at(error: BaseException) -> str:
    """Return the last line of the application's own code in the traceback."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = [
        each
        for each in traceback.extract_tb(error.__traceback__)
        if not each.filename.startswith("<") and each.filename != __file__
    ]
    own = [each for each in frames if not each.filename.startswith(LIBRARY_FOLDERS)] or frames
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
