"""The settings of the documentation site: `make docs` builds it in build/docs."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [
    str(ROOT),
    str(ROOT / "docs" / "_ext"),
    str(ROOT / "sqla_typedpool" / "pytest_plugin" / "entry"),
]

from sqla_typedpool import __version__  # noqa: E402

project = "sqla-typedpool"
author = project_copyright = "sqla-typedpool contributors"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "names",
    "repository",
]
nitpicky = True
smartquotes_action = "D"  # dashes only: quotes stay as they are written

# The links to headings are those that work in the repository.
myst_heading_anchors = 4

# In docstrings `name` is a link if the site has that name, else code.
default_role = "py:obj"
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    "Executor": "Executor",
    "Parameters": "Mapping[str, Any] | None",
}
python_maximum_signature_line_length = 80
# Names in signatures that have no page: type variables, and classes of SQLAlchemy that are imported
# for type checkers only.
names_not_linked = [
    *("AsyncEngine", "DeferredAnnotation", "Executable", "F", "Statement", "T", "TypeForm", "URL"),
]

html_theme = "furo"
pygments_dark_style = "a11y-high-contrast-dark"  # that of furo underlines the names of modules
html_title = f"sqla-typedpool {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
# Without the prompts and the output of a command.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
