"""`PoolOptions`, `EngineOptions` and `create_typed_engine`: complete, and checked at run time."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import typing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import CreateEnginePlugin, create
from sqlalchemy.ext.asyncio import create_async_engine

import sqla_typedpool
from sqla_typedpool import EngineOptions, PoolOptions, TypedPool, create_typed_engine
from sqla_typedpool.errors import PoolOptionError
from sqla_typedpool.pool.options import URL_NAMES, ResolvedOptions

URL = "sqlite+aiosqlite:///never-opened.db"
# Keywords of create_async_engine that EngineOptions leaves out, and why.
LEFT_OUT = {
    "pool": "the pool is always TypedPool",
    "poolclass": "the pool is always TypedPool",
    "convert_unicode": "removed in SQLAlchemy 2.0; only its type remains",
    "empty_in_strategy": "ignored since SQLAlchemy 1.4",
}


def keywords_of_the_signature() -> set[str]:
    """The keyword-only parameters in the overloads of `create_engine`."""
    functions = [
        each
        for each in ast.parse(inspect.getsource(create)).body
        if isinstance(each, ast.FunctionDef) and each.name == "create_engine"
    ]
    return {argument.arg for function in functions for argument in function.args.kwonlyargs}


def keywords_of_the_documentation() -> set[str]:
    pages = (create_engine.__doc__, create_async_engine.__doc__)
    found = {name for page in pages for name in re.findall(r"^ *:param (\w+)", page or "", re.M)}
    return found - {"url"}


def test_engine_options_has_every_keyword_of_create_async_engine() -> None:
    documented = keywords_of_the_signature() | keywords_of_the_documentation()
    assert len(documented) > 30
    assert documented - LEFT_OUT.keys() - EngineOptions.__optional_keys__ == set()


def test_what_engine_options_leaves_out_exists() -> None:
    documented = keywords_of_the_signature() | keywords_of_the_documentation()
    assert set(LEFT_OUT) <= documented
    assert not set(LEFT_OUT) & EngineOptions.__optional_keys__


def test_engine_options_has_nothing_that_create_async_engine_rejects() -> None:
    documented = keywords_of_the_signature() | keywords_of_the_documentation()
    of_a_dialect = {"native_inet_types", "client_encoding", "use_native_hstore", "native_datetime"}
    assert EngineOptions.__optional_keys__ - documented - PoolOptions.__optional_keys__ == (
        of_a_dialect
    )


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("postgresql+asyncpg://db/app", {"native_inet_types": False}),
        ("postgresql+psycopg://db/app", {"client_encoding": "utf8", "use_native_hstore": False}),
        (URL, {"native_datetime": True}),
    ],
)
def test_the_options_of_a_dialect_are_accepted(url: str, options: Any) -> None:
    pytest.importorskip(url.partition("+")[2].partition(":")[0])
    assert isinstance(create_typed_engine(url, **options).pool, TypedPool)


def test_pool_options_are_those_of_the_pool_and_of_the_url() -> None:
    assert PoolOptions.__optional_keys__ == set(URL_NAMES)
    assert PoolOptions.__required_keys__ == set()


def test_the_types_of_the_options_are_those_of_the_pools_parameters() -> None:
    declared = typing.get_type_hints(PoolOptions)
    parameters = typing.get_type_hints(TypedPool.__init__)
    any_type = {"reset_on_return", "echo"}  # the pool takes SQLAlchemy's own values too
    differing = {
        name
        for name, parameter in URL_NAMES.items()
        if parameter not in any_type and declared[name] != parameters[parameter]
    }
    assert differing == set()


def test_every_option_has_a_docstring() -> None:
    for cls in (PoolOptions, EngineOptions):
        assert fields_without_docstring(cls) == []


@pytest.mark.parametrize("name", ["PoolStats", "Distribution", "Holder"])
def test_every_field_of_a_report_has_a_docstring(name: str) -> None:
    assert fields_without_docstring(getattr(sqla_typedpool, name)) == []


def fields_without_docstring(cls: type) -> list[str]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    pairs = list(zip(body.body, [*body.body[1:], None], strict=True))
    fields = [(each, after) for each, after in pairs if isinstance(each, ast.AnnAssign)]
    assert fields
    return [
        ast.unparse(each.target)
        for each, after in fields
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
    ]


def test_the_typing_tests_use_every_option() -> None:
    page = (Path(__file__).parents[1] / "typing" / "options.py").read_text()
    assert [name for name in EngineOptions.__optional_keys__ if f'"{name}":' not in page] == []


# ---------------------------------------------------------------- create_typed_engine


def test_create_typed_engine_passes_every_option() -> None:
    engine = create_typed_engine(
        URL,
        pool_size=3,
        max_overflow=0,
        pool_timeout=5,
        pool_min_size=1,
        echo_pool=False,
        hide_parameters=True,
        isolation_level="SERIALIZABLE",
    )
    options = TypedPool.of(engine).options
    assert isinstance(options, ResolvedOptions)
    assert (options.pool_size, options.timeout, options.pool_min_size) == (3, 5, 1)
    assert engine.sync_engine.hide_parameters


def test_create_typed_engine_takes_the_options_of_the_url_too() -> None:
    engine = create_typed_engine(f"{URL}?plugin=typedpool&pool_size=3&pool_min_size=1", pool_size=4)
    options = TypedPool.of(engine).options
    assert (options.pool_size, options.pool_min_size) == (4, 1)


@pytest.mark.parametrize(
    ("misspelt", "right"),
    [
        ("pool_sise", "pool_size"),
        ("isolation_levl", "isolation_level"),
        ("timeout", "pool_timeout"),
    ],
)
def test_create_typed_engine_suggests_the_name_of_a_misspelt_option(
    misspelt: str, right: str
) -> None:
    options: Any = {misspelt: 1}
    with pytest.raises(PoolOptionError, match=f"option {misspelt}, did you mean {right}"):
        create_typed_engine(URL, **options)


def test_one_error_names_every_misspelt_option_of_the_engine() -> None:
    options: Any = {"pool_sise": 1, "ecko": True, "pool_size": 2}
    with pytest.raises(
        PoolOptionError, match=r"pool_sise, did .*ecko, did you mean echo"
    ) as caught:
        create_typed_engine(URL, **options)
    assert isinstance(caught.value.__cause__, TypeError)


PLUGIN_URL = f"{URL}?plugin=typedpool&pool_min_sise=2&pool_max_waiting=x"


@pytest.mark.parametrize(
    ("url", "options", "faults"),
    [
        (URL, {"pool_sise": 1, "pool_timeout": "x"}, ["pool_sise", "pool_timeout='x'"]),
        (URL, {"ecko": True, "pool_size": -1}, ["ecko", "pool_size=-1"]),
        (URL, {"ecko": True, "pool_size": 2, "pool_min_size": 3}, ["ecko", "pool_min_size=3"]),
        (URL, {"poolclass": TypedPool, "ecko": True}, ["poolclass", "ecko"]),
        (URL, {"pool": TypedPool, "pool_size": "x"}, ["pool cannot", "pool_size='x'"]),
        (
            PLUGIN_URL,
            {"ecko": True, "pool_timeout": "x"},
            ["ecko", "pool_min_sise", "pool_max_waiting='x'", "pool_timeout='x'"],
        ),
    ],
)
def test_one_error_names_misspelt_options_and_wrong_values(
    url: str, options: Any, faults: list[str]
) -> None:
    plugins.register("typedpool", "sqla_typedpool.pool.plugin", "TypedPoolPlugin")
    with pytest.raises(PoolOptionError) as caught:
        create_typed_engine(url, **options)
    assert len(caught.value.faults) == len(faults)
    assert [name for name in faults if name not in str(caught.value)] == []


@pytest.mark.parametrize("name", ["poolclass", "pool"])
def test_create_typed_engine_refuses_another_pool(name: str) -> None:
    options: Any = {name: TypedPool}
    with pytest.raises(PoolOptionError, match=rf"^TypedPool: {name} cannot be given .*; next: "):
        create_typed_engine(URL, **options)


def test_an_option_that_the_dialect_does_not_take_is_sqlalchemys_own_error() -> None:
    with pytest.raises(TypeError, match="native_inet_types"):
        create_typed_engine(URL, native_inet_types=True)


class Tags(CreateEnginePlugin):
    """Takes an option of its own."""

    def __init__(self, url: Any, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        self.tags = kwargs.pop("pool_tags", None)

    def update_url(self, url: Any) -> Any:
        return url


def test_the_option_of_another_plugin_is_accepted() -> None:
    plugins.register("tags", __name__, "Tags")
    options: Any = {"plugins": ["tags"], "pool_tags": ["a"]}
    assert isinstance(create_typed_engine(URL, **options).pool, TypedPool)
