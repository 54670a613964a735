"""The examples in the docstrings of the package run, on SQLite or on the PostgreSQL of the session.

An example uses the names of `tests/project/snippets/docstring_names.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sqla_typedpool.embedded import Postgres
from tests.project.snippets.blocks import ROOT, Block, Page
from tests.project.snippets.docstrings import Example, all_examples, examples_of
from tests.project.snippets.running import PageRun
from tests.support.scratch_database import scratch_database

# What follows `::` and is no code, and examples of internal functions.
NOT_RUN = {
    "sqla_typedpool/_asyncio/timers.py:Deadline": "internal",
    "sqla_typedpool/check/snapshots.py:Snapshots": "internal",
    "sqla_typedpool/check/suppressions.py:Suppressions": "internal",
    "sqla_typedpool/errors.py:": "the tree of the classes",
    "sqla_typedpool/pool/plugin.py:TypedPoolPlugin": "a URL; tests/pool/test_plugin.py",
    "sqla_typedpool/pool/slots.py:": "the states of a slot",
}
EXAMPLES = {example.name: example for example in all_examples()}
RUN = [example for name, example in EXAMPLES.items() if name not in NOT_RUN]
SET_UP = """
from tests.project.snippets import docstring_names
globals().update(await docstring_names.names(url, postgresql_url))
"""
BEFORE = {
    "sqla_typedpool/cli/__init__.py:main": """
main(["prepare", "app", "--database-url", postgresql_url])
""",
    "sqla_typedpool/embedded/server.py:Postgres.url": "server = Postgres.start()\n",
    "sqla_typedpool/declarations/module.py:code_of_row": """
from sqla_typedpool.describe import describe
description = await describe(engine, "SELECT id FROM users")
""",
}
AFTER = """
await session.close()
if "collect_from" in globals():
    from prometheus_client import REGISTRY
    for collector in list(REGISTRY._collector_to_names):
        if type(collector).__module__.startswith("sqla_typedpool."):
            REGISTRY.unregister(collector)
if "server" in globals():
    server.stop()
"""
TESTS = """
for test in [value for name, value in list(globals().items()) if name.startswith("test_")]:
    test(typedpool_database)
"""


@pytest.mark.parametrize("example", RUN, ids=[each.name.split("/", 1)[1] for each in RUN])
def test_the_example_of_a_docstring_runs(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    pytest.importorskip("aiosqlite")
    monkeypatch.chdir(tmp_path)
    file = example.blocks[0].page
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    before = [SET_UP, f"from {module} import *", BEFORE.get(example.name, "")]
    blocks = [Block(file, 1, "python", code) for code in before]
    blocks += [*example.blocks, *(Block(file, 1, "python", code) for code in (TESTS, AFTER))]
    with scratch_database(postgres) as postgresql_url:
        url = f"sqlite+aiosqlite:///{tmp_path}/app.db"
        run = PageRun(Page(file, blocks), tmp_path, url=url, postgresql_url=postgresql_url)
        run.run()
    assert run.differences == []


def test_no_example_is_listed_that_does_not_exist() -> None:
    assert sorted(NOT_RUN.keys() - EXAMPLES.keys()) == []
    assert len(RUN) >= 45


def test_examples_are_found_in_each_form(tmp_path: Path) -> None:
    source = '''
"""A module::

    a = 1

The end.
"""

class A:
    def f(self):
        """F.

        Example::

            >>> 1 + 1
            2

        Another::

            b = 2
        """

def g():
    """
    >>> 3
    3
    """
'''
    file = tmp_path / "module.py"
    file.write_text(source)
    found = {each.name: [block.code for block in each.blocks] for each in examples_of(file)}
    assert found == {
        "module.py:": ["a = 1\n"],
        "module.py:A.f": ["_show(1 + 1)\n", "2\n"],
        "module.py:A.f#2": ["b = 2\n"],
        "module.py:g": ["_show(3)\n", "3\n"],
    }
