"""Checks of the blocks that are not executed: settings, workflows, URLs.

Each function returns the faults of a block; an empty list means that nothing is wrong.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import sys
from typing import Any

import yaml
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import TypedPoolError
from sqla_typedpool.check.config import settings_of
from sqla_typedpool.errors import CannotRun
from tests.project.snippets.blocks import ROOT, Block
from tests.project.snippets.commands import fault_of_options, fault_of_pip

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = set(PYPROJECT["project"]["optional-dependencies"])
PYTEST_ENTRY = ROOT / "sqla_typedpool/pytest_plugin/entry/sqla_typedpool_pytest/__init__.py"
PYTESTS_OWN = {"addopts", "testpaths", "usefixtures"}
HOOKS = ROOT / ".pre-commit-hooks.yaml"


def faults_of(block: Block) -> list[str]:
    """Parse a block, check its names, and return what is wrong."""
    check = {"toml": toml, "ini": ini, "json": json_, "yaml": yaml_}.get(block.language, urls)
    return check(block.code)


def toml(code: str) -> list[str]:
    """Check the tables of this package and of pytest."""
    tools = tomllib.loads(code).get("tool", {})
    faults = pytest_faults(tools.get("pytest", {}).get("ini_options", {}))
    try:
        settings_of(tools.get("sqla_typedpool", {}), "pyproject.toml")
    except CannotRun as error:
        faults.append(str(error))
    return faults


def ini(code: str) -> list[str]:
    """Check the settings of pytest; those of other programs are only parsed."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(code)
    return pytest_faults(dict(parser["pytest"])) if "pytest" in parser else []


def pytest_faults(settings: dict[str, Any]) -> list[str]:
    """Return the settings of the pytest plugin that do not exist."""
    known = set(re.findall(r'addini\("(\w+)"', PYTEST_ENTRY.read_text())) | PYTESTS_OWN
    return [f"no such setting: {name}" for name in settings if name not in known]


def json_(code: str) -> list[str]:
    """Parse an object, or the lines of one."""
    json.loads(code if code.lstrip()[:1] in "{[" else f"{{{code}}}")
    return []


def yaml_(code: str) -> list[str]:
    """Check the commands of workflows and the hooks of pre-commit."""
    document = yaml.safe_load(code)
    hooks = {hook["id"] for hook in yaml.safe_load(HOOKS.read_text())}
    faults = [fault for line in values(document, "run") for fault in faults_of_line(line)]
    faults += [fault for line in values(document, "entry") for fault in faults_of_line(line)]
    if isinstance(document, dict) and "repos" in document:
        faults += [f"no such hook: {each}" for each in values(document, "id") if each not in hooks]
    return faults


def values(document: Any, name: str) -> list[str]:
    """Return the texts under this key, at any depth."""
    if isinstance(document, list):
        return [found for each in document for found in values(each, name)]
    if not isinstance(document, dict):
        return []
    own = [document[name]] if isinstance(document.get(name), str) else []
    return own + [found for each in document.values() for found in values(each, name)]


def faults_of_line(line: str) -> list[str]:
    """Check the extras and the options in a line of a shell."""
    fault = None
    if "pip install" in line:
        fault = fault_of_pip(line, EXTRAS)
    elif line.startswith("sqla-typedpool "):
        fault = fault_of_options(shlex.split(line, comments=True)[1:])
    return [fault] if fault else []


def urls(code: str) -> list[str]:
    """Check the options of the plugin in database URLs."""
    faults = []
    for line in code.splitlines():
        url = make_url(line.partition("=")[2] if re.match(r"\w+=", line) else line)
        try:
            create_async_engine(url)
        except (SQLAlchemyError, TypedPoolError) as error:
            faults.append(f"{url}: {error}")
    return faults
