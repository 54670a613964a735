"""Correct modules are made wrong at random; ``check --fix --write`` restores every byte of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.check.fixes.lab import COLUMNS, run, write_snapshots

HEAD = """from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic

from sqla_typedpool import Executor, query
"""
CLASSES = (
    "@dataclass\nclass Row:",
    "@attrs.frozen\nclass Row:",
    "class Row(msgspec.Struct):",
    "class Row(pydantic.BaseModel):",
    "class Row(NamedTuple):",
    "class Row(TypedDict):",
)
QUERY = """

@query("SELECT {sql} FROM users")
async def {name}(db: Executor) -> {returns}:
    raise NotImplementedError
"""
TYPES = {
    "bigint": "int",
    "integer": "int",
    "text": "str",
    "numeric": "Decimal",
    "date": "date",
    "timestamptz": "datetime",
    "uuid": "UUID",
    "text[]": "list[str]",
}
RIGHT = {
    name: TYPES[kind] + (" | None" if is_nullable else "")
    for name, (kind, is_nullable) in COLUMNS.items()
    if kind in TYPES
}


def wrong(annotation: str, chance: random.Random) -> str:
    """Return an annotation with a fault."""
    kind, _, none = annotation.partition(" | ")
    others = sorted({"int", "bytes", "Decimal", "UUID"} - {kind})
    other = chance.choice([kind, *others])
    if other == kind or chance.random() < 0.5:
        none = "" if none else "None"
    return f"{other} | {none}" if none else other


def module(chance: random.Random, share: float) -> tuple[str, int]:
    """Return a module, and the number of faults in it.

    :param share: the share of annotations that are wrong, from 0 to 1.
    """
    faults = 0

    def written(name: str) -> str:
        nonlocal faults
        is_wrong, annotation = chance.random() < share, wrong(RIGHT[name], chance)
        faults += is_wrong
        return annotation if is_wrong else RIGHT[name]

    columns = chance.sample(sorted(RIGHT), 6)
    fields = "\n".join(f"    {name}: {written(name)}  # {name}" for name in columns[:3])
    parts = ", ".join(written(name) for name in columns[3:5])
    single = written(columns[5])
    head = f"{HEAD}\n\n{chance.choice(CLASSES)}\n{fields}\n"
    queries = (
        QUERY.format(sql=", ".join(columns[:3]), name="rows", returns="list[Row]")
        + QUERY.format(sql=", ".join(columns[3:5]), name="pairs", returns=f"list[tuple[{parts}]]")
        + QUERY.format(sql=columns[5], name="singles", returns=f"list[{single}]")
    )
    return head + queries, faults


def test_every_fault_is_corrected_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "app"
    package.mkdir()
    (package / "__init__.py").touch()
    right, faults = {}, 0
    for seed in range(60):
        right[package / f"m{seed}.py"], _ = module(random.Random(seed), 0)
        text, found = module(random.Random(seed), 0.5)
        (package / f"m{seed}.py").write_text(text)
        faults += found
    write_snapshots(tmp_path, monkeypatch)
    answer = run(tmp_path, "--fix", "--write", "--offline", "--strict")
    assert {file: file.read_text() for file in right} == right
    assert answer.returncode == 0
    assert f"corrected {faults} findings in " in answer.stdout
    assert faults > 100
