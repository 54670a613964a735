"""The files that `sqla-typedpool init` proposes. docs/guide/testing.md shows the same texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

SETTINGS_FILE = "pyproject.toml"
HOOK_FILE = ".pre-commit-config.yaml"
WORKFLOW_FILE = ".github/workflows/sql.yml"

# The start of the table in pyproject.toml, and the name of the hook, by which they are recognised.
TABLE = "[tool.sqla_typedpool]"
HOOK = "sqla-typedpool-check"

HOOK_TEXT = rf"""repos:
  - repo: local
    hooks:
      - id: {HOOK}
        name: sqla-typedpool check
        entry: sqla-typedpool check --offline
        language: system
        pass_filenames: false
        files: (\.py|\.sql|pyproject\.toml|\.sqla_typedpool/.*\.json)$
"""

_SNAPSHOTS_JOB = """name: sql
on: [push, pull_request]
jobs:
  snapshots:                       # compares the code with the snapshots, without a database
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: { python-version: "3.13" }
      - run: pip install -e . "sqla-typedpool[asyncpg,check]"
      - run: sqla-typedpool check --offline --format github
"""

_SCHEMA_JOB = """
  schema:                          # compares the snapshots with the schema, on a temporary server
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: { python-version: "3.13" }
      - run: pip install -e . "sqla-typedpool[asyncpg,embedded,check]"
      - run: sqla-typedpool prepare --check --ephemeral --format github
"""


def settings_text(modules: Sequence[str], schema: Mapping[str, str]) -> str:
    """Return the table of the settings.

    :param schema: where the schema is defined: ``metadata``, ``alembic`` or ``schema``, with its
        value. If it is empty, the setting is a comment.
    """
    lines = [
        TABLE,
        "# the modules and packages with queries",
        f"modules = {json.dumps(list(modules))}",
        "# the schema of a temporary database: metadata, alembic or schema",
        *(f"{name} = {json.dumps(value)}" for name, value in schema.items()),
    ]
    if not schema:
        lines.append('# metadata = "app.models:Base.metadata"')
    return "\n".join(lines) + "\n"


def workflow_text(*, has_schema: bool, project: str = "-e .") -> str:
    """Return the GitHub workflow. A job that needs the schema is left out if there is none.

    :param project: the arguments with which pip installs the project or its requirements.
    """
    text = _SNAPSHOTS_JOB + (_SCHEMA_JOB if has_schema else "")
    return text.replace("pip install -e .", f"pip install {project}")
