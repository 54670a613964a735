"""The documentation as a site: no warning, no dead link, and a place for each public name.

It needs the dependency group `docs`, which `make docs` installs.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import sqla_typedpool
from tests.support.site import Site

ROOT = Path(__file__).parents[2]
PUBLIC_MODULES = [
    f"sqla_typedpool.{name}"
    for name in (
        *("check", "embedded", "ephemeral", "errors", "queries", "pytest_plugin"),
        *("integrations.asgi", "integrations.fastapi", "integrations.litestar"),
        *("integrations.opentelemetry", "integrations.prometheus", "integrations.starlette"),
    )
]
# The methods of the pool that are not those of SQLAlchemy's pools.
METHODS = ("of", "configured", "stats", "holders", "warm", "retire_all", "close")
# In __all__ for other modules of the package.
INTERNAL = {"sqla_typedpool.errors.copy_error"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site. Every warning fails the test."""
    for needed in ("sphinx", "furo", "myst_parser", "sphinx_copybutton"):
        pytest.importorskip(needed, reason="not installed; next: run make docs")
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--fail-on-warning", "--keep-going", "-d", folder / "doctrees"]
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", *map(str, [*options, ROOT / "docs", folder / "html"])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.returncode == 0, ended.stdout
    return folder / "html"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_link_of_the_site_leads_somewhere_and_every_page_is_linked(site: Path) -> None:
    checked = Site(site)
    assert checked.faults() == []
    assert len(checked.pages) > 100


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_public_name_has_a_place_on_the_site(site: Path) -> None:
    documented = set(names_in((site / "objects.inv").read_bytes()))
    names = public_names()
    missing = {name for name, places in names.items() if not places & documented}
    assert missing == INTERNAL
    assert len(names) > 80


def names_in(inventory: bytes) -> Iterator[str]:
    """Yield the Python names in an ``objects.inv`` of Sphinx: four lines, then compressed ones."""
    compressed = inventory.split(b"\n", 4)[4]
    for line in zlib.decompress(compressed).decode().splitlines():
        name, kind, *_ = line.split()
        if kind.startswith("py:"):
            yield name


def public_names() -> dict[str, set[str]]:
    """Return all public names, each with the names under which it may be documented."""
    pool = {f"sqla_typedpool.TypedPool.{name}" for name in METHODS}
    names = {name: {name} for name in pool}
    for module in (sqla_typedpool, *map(importlib.import_module, PUBLIC_MODULES)):
        for name in getattr(module, "__all__", None) or defined_in(module):
            value = getattr(module, name)
            full = f"{module.__name__}.{name}"
            names[full] = {full, f"sqla_typedpool.{name}", f"{value.__module__}.{name}"}
    return names


def defined_in(module: object) -> list[str]:
    """Return the public functions and classes of a module without ``__all__``."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == getattr(module, "__name__", "")
        and callable(value)
    ]


# --------------------------------------------------------------- the checker of the site itself


def written(folder: Path, **pages: str) -> list[str]:
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(body)
    return Site(folder).faults()


def test_a_site_without_dead_links_has_no_fault(tmp_path: Path) -> None:
    faults = written(
        tmp_path,
        index='<a href="other.html#it">x</a> <a href="#here">x</a> <p id="here">',
        other='<p id="it"> <a href="index.html">x</a> <a href="https://example.org/x">x</a>',
    )
    assert faults == []


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("gone.html", "leads to no file of the site"),
        ("../outside.html", "leads to no file of the site"),
        ("#gone", "leads to no element of the page"),
        ("index.html#gone", "leads to no element of the page"),
    ],
)
def test_a_dead_link_is_found(tmp_path: Path, link: str, fault: str) -> None:
    assert written(tmp_path, index=f'<a href="{link}">x</a>') == [f"index.html: {link} {fault}"]


def test_a_missing_picture_is_found(tmp_path: Path) -> None:
    (fault,) = written(tmp_path, index='<img src="gone.svg">')
    assert fault == "index.html: gone.svg leads to no file of the site"


def test_a_page_that_no_link_leads_to_is_found(tmp_path: Path) -> None:
    assert written(tmp_path, index="", lonely="") == ["lonely.html: no link leads to this page"]
