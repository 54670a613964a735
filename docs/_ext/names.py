"""Links from names in docstrings and signatures to the pages of the API.

Docstrings use short names (`TypedPool`), and signatures the modules in which classes are defined.
Both lead to the public name. A name that is not public is shown as code.
"""

from __future__ import annotations

import builtins
import dataclasses
import re
from enum import Enum
from typing import Any, Final

from docutils import nodes
from sphinx.addnodes import desc_addname, desc_parameterlist, desc_signature, pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms import SphinxTransform
from sphinx.util.nodes import make_refnode

from sqla_typedpool import PoolOptions

_PACKAGE: Final = "sqla_typedpool"
# Classes of which functions and methods return the instances.
_NOT_CREATED: Final = ("AsyncTypedRows", "Database", "Postgres", "TypedPool", "TypedRows")
# Where a type alias is defined, in the file of which Sphinx finds the text about it.
_DEFINED_IN: Final = {
    "Executor": "sqla_typedpool.fetch.api",
    "Lifespan": "sqla_typedpool.integrations.starlette",
    "RowCount": "sqla_typedpool.queries.returns",
    "Source": "sqla_typedpool.embedded.binaries",
}
_PAGE: Final = re.compile(r"docs/([\w/-]+)\.md")
_CALL: Final = re.compile(r"\(\)$")
_FROM_SOURCE: Final = re.compile(r'(<a class="viewcode-back" href="[^"#]*#)([\w.]+)')


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the extension."""
    app.add_config_value("names_not_linked", [], "env", types=frozenset({list}))
    app.add_transform(BuiltinTypes)
    app.add_transform(Signatures)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-docstring", complete)
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("html-page-context", correct_links_from_source)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}


class BuiltinTypes(SphinxTransform):
    """Shows ``type`` and the like as text: Sphinx would link them to an attribute of that name."""

    default_priority = 900

    def apply(self, **_: Any) -> None:
        for node in [*self.document.findall(pending_xref)]:
            if node.get("refdomain") == "py" and hasattr(builtins, node["reftarget"]):
                node.replace_self(node.children)


class Signatures(SphinxTransform):
    """Leaves out signatures that differ only in a type for type checkers, and what pytest passes to
    fixtures.
    """

    default_priority = 900

    def apply(self, **_: Any) -> None:
        for each in [*self.document.findall(desc_signature)]:
            if "TypeForm[" in each.astext():
                each.parent.remove(each)
            elif each.get("module") == "sqla_typedpool_pytest":
                for part in [*each.findall(desc_addname), *each.findall(desc_parameterlist)]:
                    part.parent.remove(part)


def shorten(
    _: Sphinx,
    what: str,
    name: str,
    value: Any,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Leave out the arguments of what an application does not create itself.

    Sphinx cannot parse ``<factory>``, a default of dataclasses.
    """
    if signature and _is_only_read(value):
        return "", ""
    return signature and signature.replace("<factory>", "..."), returns


def _is_only_read(value: Any) -> bool:
    """Whether it is a class of which applications create no instances."""
    if not isinstance(value, type):
        return False
    if value.__name__ in _NOT_CREATED or issubclass(value, (BaseException, Enum)):
        return True
    return dataclasses.is_dataclass(value) and "markers" not in value.__module__


def skip_inherited(
    app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Describe the options of the pool at `PoolOptions` only; a TypedDict copies inherited keys."""
    is_engine = app.env.temp_data.get("autodoc:class") == "EngineOptions"
    return True if is_engine and name in PoolOptions.__annotations__ else None


def complete(_: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Find the text about a type alias, and link the pages that a text names by their path, such as
    ``docs/guide/pool.md``.
    """
    alias = name.rpartition(".")[2]
    if what == "data" and alias in _DEFINED_IN:
        lines[:] = ModuleAnalyzer.for_module(_DEFINED_IN[alias]).find_attr_docs()["", alias]
    lines[:] = [_PAGE.sub(r":doc:`/\1`", line) for line in lines]


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Return a link to a public name, or its text; None = the reference is an error."""
    if node.get("refdomain") != "py":
        return None
    domain = env.get_domain("py")
    assert isinstance(domain, PythonDomain)
    target = _CALL.sub("", node["reftarget"])
    found = _public(domain, target)
    if found is not None:
        entry = domain.objects[found]
        return make_refnode(
            app.builder, node["refdoc"], entry.docname, entry.node_id, content, found
        )
    is_foreign = "." in target and not target.startswith(f"{_PACKAGE}.")
    is_hidden = target.rpartition(".")[2] in app.config.names_not_linked
    return content if node["reftype"] == "obj" or is_foreign or is_hidden else None


def _public(domain: PythonDomain, target: str) -> str | None:
    """Return the only public name that ends with a short name, or with that of an internal one."""
    if not re.fullmatch(r"[\w.]+", target):
        return None
    is_internal = target.startswith(f"{_PACKAGE}.")
    short = target.rpartition(".")[2] if is_internal else target
    if not (is_internal or short[0].isupper()):
        return None
    found = {
        name
        for name, entry in domain.objects.items()
        if not entry.aliased and name.endswith(f".{short}")
    }
    shortest = sorted(found, key=lambda name: name.count("."))[:2]
    if len(shortest) == 2 and shortest[0].count(".") == shortest[1].count("."):
        return None
    return shortest[0] if shortest else None


def correct_links_from_source(
    app: Sphinx, page: str, template: str, context: dict[str, Any], document: nodes.document | None
) -> None:
    """Correct the links of the pages with source code.

    Sphinx assumes that all names of a module are documented under the same module.
    """
    if not page.startswith("_modules/"):
        return
    domain = app.env.get_domain("py")
    assert isinstance(domain, PythonDomain)

    def corrected(link: re.Match[str]) -> str:
        return link[1] + _documented_as(domain, link[2])

    context["body"] = _FROM_SOURCE.sub(corrected, context["body"])


def _documented_as(domain: PythonDomain, name: str) -> str:
    """Return the public name with the longest part in common with the end of this one."""
    parts = name.split(".")
    known = [each for each, entry in domain.objects.items() if not entry.aliased]
    for start in range(len(parts)):
        end = "." + ".".join(parts[start:])
        for each in known:
            if each == name or each.endswith(end):
                return each
    return name
