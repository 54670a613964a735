"""Check the links of a built documentation site: `python -m tests.support.site build/docs`.

Sphinx reports dead links in its sources. This reads what it has written: every link and picture
of a page leads to a file of the site and, with a #, to an element that has this id, and every page
can be reached from the first one.
"""

from __future__ import annotations

import sys
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Pages that Sphinx makes, which are found by the search field or only in a URL.
_GENERATED = {"genindex.html", "py-modindex.html", "search.html"}
_LINKS = {"a": "href", "img": "src", "link": "href", "script": "src"}


class Page(HTMLParser):
    """The links of a page, and the ids of its elements."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value is not None}
        if "id" in found:
            self.ids.add(found["id"])
        link = found.get(_LINKS.get(tag, ""))
        if link is not None:
            self.links.append(link)


class Site:
    """A folder of HTML pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    @cached_property
    def pages(self) -> dict[Path, Page]:
        return {file: Page(file) for file in sorted(self.folder.rglob("*.html"))}

    def faults(self) -> list[str]:
        """Return the dead links and the pages that no link leads to."""
        return [*self._dead_links(), *self._unreachable()]

    def _dead_links(self) -> list[str]:
        return [
            f"{self._name(file)}: {link} {fault}"
            for file, page in self.pages.items()
            for link in sorted(set(page.links))
            for fault in [self._fault(file, link)]
            if fault
        ]

    def _fault(self, file: Path, link: str) -> str:
        """Return what is wrong with a link; "" = nothing, or it leads to another site."""
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            return ""
        target = self._target(file, parts.path)
        if not target.is_file() or self.folder not in target.parents:
            return "leads to no file of the site"
        if target not in self.pages or parts.fragment in ("", "top"):
            return ""
        known = unquote(parts.fragment) in self.pages[target].ids
        return "" if known else "leads to no element of the page"

    def _target(self, file: Path, path: str) -> Path:
        return (file.parent / unquote(path)).resolve() if path else file

    def _unreachable(self) -> list[str]:
        first = self.folder / "index.html"
        found, to_read = {first}, [first]
        while to_read:
            file = to_read.pop()
            targets = {self._target(file, urlsplit(each).path) for each in self.pages[file].links}
            new = (targets & self.pages.keys()) - found
            found |= new
            to_read += new
        return [
            f"{self._name(file)}: no link leads to this page"
            for file in self.pages.keys() - found
            if file.name not in _GENERATED and "_modules" not in file.parts
        ]

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()


def main(folder: str) -> int:
    """Print what is wrong; return 1 if there is anything."""
    site = Site(Path(folder))
    faults = site.faults()
    summary = f"{len(site.pages)} pages, {len(faults)} faults\n"
    sys.stdout.write("\n".join([*faults, summary]))
    return 1 if faults or not site.pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
