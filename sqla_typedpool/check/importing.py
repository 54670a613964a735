"""Importing the user's modules, which is all that runs of their code: by name or by file."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sqla_typedpool.errors import CannotRun, DeclarationError

_NOT_OWN = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def searched(folder: Path) -> None:
    """Let imports look here first."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def to_standard_error() -> contextlib.AbstractContextManager[Any]:
    """A context in which what modules print is no output of ours."""
    return contextlib.redirect_stdout(_StandardError())


class _StandardError:
    """Standard error, which a module may close without harm."""

    def close(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


def import_name(name: str) -> ModuleType:
    """A module by its name.

    :raises CannotRun: it cannot be imported.
    """
    with _explained(name):
        return importlib.import_module(name)


def import_file(path: Path) -> ModuleType:
    """A module by its file, a package by its folder.

    :raises CannotRun: there is none, or it cannot be imported.
    """
    file = (path / "__init__.py" if path.is_dir() else path).resolve()
    if not file.is_file():
        raise CannotRun(
            f"there is no file {path}; next: name a module (app.users), a package or a .py file"
        )
    home, name = _seen_from(file)
    with _explained(str(path)):
        if not name:
            return _import_by_file(file)
        searched(home)
        module = importlib.import_module(name)
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != file:
        raise CannotRun(
            f"{path} cannot be imported: {name} is {found or 'built in'}; next: rename it, or "
            f"name the module as the application imports it"
        )
    return module


def name_of_file(file: Path) -> str:
    """The module's name, as `import_file` imports it."""
    file = file.resolve()
    return _seen_from(file)[1] or file.stem


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
    here = Path.cwd()
    try:
        yield
    except (CannotRun, KeyboardInterrupt):
        raise
    except DeclarationError as error:
        raise CannotRun(str(error)) from error
    except BaseException as error:
        raise CannotRun(_why_not(name, error)) from error
    finally:
        os.chdir(here)  # a module may have gone elsewhere


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
