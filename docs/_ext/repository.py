"""Pages for the files of the repository that the documentation links to.

The links between pages are relative paths, which work in the repository. This extension makes the
links to files outside of `docs` work on the site too:

- A Markdown file of `PAGES` has a page of its own. In the repository that page is a stub; here it
  gets the text of the file.
- Any other file is shown as a page with its source, under `files/`.
- A folder is not a link.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util.display import status_iterator

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = {
    "README.md": "index",
    "CHANGELOG.md": "project/changelog",
    "CONTRIBUTING.md": "project/contributing",
    "SECURITY.md": "project/security",
    "benchmarks/README.md": "project/benchmarks",
    "examples/bookshop/README.md": "examples/bookshop",
    "examples/fastapi_shop/README.md": "examples/fastapi-shop",
    "examples/jobs/README.md": "examples/jobs",
    "examples/litestar_shop/README.md": "examples/litestar-shop",
    "examples/sqlmodel_notes/README.md": "examples/sqlmodel-notes",
}
_STUBS: Final = {page: file for file, page in PAGES.items() if page != "index"}
_LINK: Final = re.compile(r"(\]\(|^\[[\w-]+\]: )(?!https?:|#)([^)\s]+)", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the extension."""
    app.connect("source-read", fill_stub)
    app.add_transform(LinksToFiles)
    app.connect("env-purge-doc", _forget)
    app.connect("env-merge-info", _merge)
    app.connect("html-collect-pages", pages_of_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}


def fill_stub(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the text of a stub by that of its file, with links that start at the stub."""
    if docname in _STUBS:
        file = ROOT / _STUBS[docname]
        app.env.note_dependency(str(file))
        stub = Path(app.env.doc2path(docname)).parent

        def moved(link: re.Match[str]) -> str:
            return f"{link[1]}{os.path.relpath(file.parent / link[2], stub)}"

        source[0] = _LINK.sub(moved, file.read_text())


class LinksToFiles(SphinxTransform):
    """Replaces the links to files outside of `docs`."""

    default_priority = 20

    def apply(self, **_: Any) -> None:
        for node in [*self.document.findall(addnodes.download_reference)]:
            self._replace(node, node["reftarget"])
        for node in [*self.document.findall(addnodes.pending_xref)]:
            if node.get("reftype") == "myst":
                self._retarget(node)

    def _retarget(self, node: addnodes.pending_xref) -> None:
        """Let a link to a Markdown file lead to its page; MyST gives it an absolute path."""
        if node.get("refdomain") != "doc":
            self._replace(node, node["reftarget"].partition("#")[0])
        elif os.path.isabs(node["reftarget"]):
            file = Path(f"{node['reftarget']}.md").resolve()
            page = PAGES.get(file.relative_to(ROOT).as_posix())
            if page is None or not self.env.doc2path(page).exists():
                self._replace(node, str(file))
            else:
                node["reftarget"] = page
                if page == "index":
                    node["reftargetid"] = None

    def _replace(self, node: nodes.Element, target: str) -> None:
        folder = Path(self.env.doc2path(self.env.docname)).parent
        path = Path(os.path.normpath(folder / target))
        if path.is_dir():
            node.replace_self(node.children)
        elif path.is_file() and Path(self.env.srcdir) not in path.parents:
            file = path.relative_to(ROOT).as_posix()
            _files_of(self.env).setdefault(self.env.docname, set()).add(file)
            link = nodes.reference("", "", *node.children, internal=True)
            link["refuri"] = f"{'../' * self.env.docname.count('/')}files/{quote(file)}.html"
            node.replace_self(link)


def _files_of(env: BuildEnvironment) -> dict[str, set[str]]:
    """Return the files that each page links to."""
    if not hasattr(env, "linked_files"):
        env.linked_files = {}  # type: ignore[attr-defined]
    found: dict[str, set[str]] = env.linked_files  # type: ignore[attr-defined]
    return found


def _forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _files_of(env).pop(docname, None)


def _merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    _files_of(env).update(_files_of(other))


def pages_of_files(app: Sphinx) -> Any:
    """Yield a page with the source of each linked file."""
    builder = app.builder
    if not isinstance(builder, StandaloneHTMLBuilder):
        return
    files = sorted(set().union(*_files_of(app.env).values()))
    for file in status_iterator(files, "files of the repository... ", "blue", len(files)):
        code = (ROOT / file).read_text()
        shown = builder.highlighter.highlight_block(code, _language(file, code), linenos=False)
        body = f"<h1>{file.rpartition('/')[2]}</h1><p><code>{file}</code></p>{shown}"
        yield f"files/{file}", {"parents": [], "title": file, "body": body}, "page.html"


def _language(file: str, code: str) -> str:
    if file.endswith(".sql"):  # of PostgreSQL; the name alone means Transact-SQL
        return "postgresql"
    try:
        return get_lexer_for_filename(file, code).aliases[0]
    except ClassNotFound:
        return "text"
