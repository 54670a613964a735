"""docs/reference/options.md has every option, with the type, the default and the URL."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import Pool

from sqla_typedpool import PoolOptions, TypedPool
from sqla_typedpool.pool import option_types
from sqla_typedpool.pool.backend import default_reset_timeout
from sqla_typedpool.pool.options import URL_NAMES, ResolvedOptions

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "options.md").read_text()
SECTION = re.compile(
    r"^### (?P<name>\w+)\nType: `(?P<type>[^`]+)`(?P<unit>, seconds)?\. "
    r"Default: `(?P<default>[^`]+)`(?P<other> \(MySQL and MariaDB: `\d+`\))?\. "
    r"In a URL: `(?P<url>[^`]+)`\.\n\n(?P<text>.*?)(?=^##)",
    re.MULTILINE | re.DOTALL,
)
# Those of the stock pool that `ResolvedOptions` does not have, and their names there.
STOCK = {
    "pool_recycle": "recycle",
    "pool_pre_ping": "pre_ping",
    "pool_reset_on_return": "reset_on_return",
    "pool_logging_name": "logging_name",
    "echo_pool": "echo",
}


class Option(NamedTuple):
    type: str
    is_seconds: bool
    default: str
    url: str
    text: str


def on_the_page() -> dict[str, Option]:
    """Return the options of the page, by name."""
    return {
        each["name"]: Option(
            each["type"], each["unit"] is not None, each["default"], each["url"], each["text"]
        )
        for each in SECTION.finditer(f"{PAGE}\n## end")
    }


def types_in_the_code() -> dict[str, str]:
    """Return the annotations of `PoolOptions`, as they are written."""
    tree = ast.parse(inspect.getsource(option_types))
    (options,) = [
        each
        for each in tree.body
        if isinstance(each, ast.ClassDef) and each.name == PoolOptions.__name__
    ]
    return {
        field.target.id: ast.unparse(field.annotation).replace("'", '"')
        for field in options.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def shown(value: object) -> str:
    """A default, as the page writes it."""
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:g}" if isinstance(value, float) else str(value)


def defaults_in_the_code() -> dict[str, str]:
    """Return the defaults of all options: ours, and those of the stock pool."""
    ours = ResolvedOptions()
    stock = inspect.signature(Pool.__init__).parameters
    return {
        name: shown(stock[STOCK[name]].default if name in STOCK else getattr(ours, URL_NAMES[name]))
        for name in types_in_the_code()
    }


OPTIONS = on_the_page()
every_option = pytest.mark.parametrize("name", sorted(OPTIONS))


def test_the_page_has_every_option_with_its_type() -> None:
    assert {name: option.type for name, option in OPTIONS.items()} == types_in_the_code()


def test_the_page_has_the_defaults_of_the_code() -> None:
    assert {name: option.default for name, option in OPTIONS.items()} == defaults_in_the_code()


def test_the_page_has_the_default_of_mysql() -> None:
    assert f"(MySQL and MariaDB: `{default_reset_timeout(MySQLDialect()):g}`)" in PAGE


def test_the_options_at_a_glance_are_those_of_the_page_in_their_order() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\) \| `(.*?)` \|", PAGE, re.MULTILINE)
    assert rows == [(name, name, option.default) for name, option in OPTIONS.items()]


@every_option
def test_options_that_are_durations_are_in_seconds(name: str) -> None:
    assert OPTIONS[name].is_seconds == ("float" in OPTIONS[name].type)


@every_option
def test_each_option_tells_why_when_and_what_belongs_to_it(name: str) -> None:
    starts = re.findall(r"^- (Why|Change it|Related)\b", OPTIONS[name].text, re.MULTILINE)
    assert starts == ["Why", "Change it", "Related"]


@every_option
def test_the_url_of_an_option_changes_its_default(name: str) -> None:
    pytest.importorskip("aiosqlite")
    written, _, text = OPTIONS[name].url.partition("=")
    url = f"sqlite+aiosqlite:///never-opened.db?plugin=typedpool&{OPTIONS[name].url}"
    pool: Any = TypedPool.of(create_async_engine(url))
    assert written == name
    if name == "pool_pre_ping":
        assert pool.options == ResolvedOptions()
    elif name == "pool_recycle":
        assert pool.options.pool_max_lifetime == float(text)
    elif name == "pool_reset_on_return":
        assert pool._reset_on_return.name == f"reset_{text}"
    elif name == "pool_logging_name":
        assert pool.logging_name == text
    elif name == "echo_pool":
        assert pool.echo == text
    else:
        value = getattr(pool.options, URL_NAMES[name])
        assert shown(value).strip('"').lower() == text
        assert shown(value) != OPTIONS[name].default
