"""The report in SARIF 2.1.0, the format of code scanning services such as GitHub's."""

from __future__ import annotations

import contextlib
import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqla_typedpool.check.fingerprints import fingerprinted
from sqla_typedpool.check.model import Finding, Location
from sqla_typedpool.check.report import Report, sentences_of, shown_path
from sqla_typedpool.check.rule_docs import explain, sections
from sqla_typedpool.check.rules import RULES, Rule

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "%SRCROOT%"
_NAME = "sqla-typedpool"
_INDEXES = {code: index for index, code in enumerate(RULES)}


def as_sarif(report: Report) -> str:
    """Return one run as a JSON object. The URIs are relative to the working directory."""
    root = {"description": {"text": "The working directory of the check."}}
    run = {
        "tool": {"driver": _driver()},
        "originalUriBaseIds": {_ROOT: root},
        "columnKind": "unicodeCodePoints",
        "results": [_result(each, fingerprint) for each, fingerprint in fingerprinted(report)],
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _driver() -> dict[str, Any]:
    texts = sections()
    rules = [_rule(rule, texts[rule.code]) for rule in RULES.values()]
    driver: dict[str, Any] = {"name": _NAME, "rules": rules}
    with contextlib.suppress(metadata.PackageNotFoundError):  # it is run from its source
        driver["version"] = metadata.version(_NAME)
    return driver


def _rule(rule: Rule, markdown: str) -> dict[str, Any]:
    title = f"{rule.title[0].upper()}{rule.title[1:]}."
    return {
        "id": rule.code,
        "shortDescription": {"text": title},
        "fullDescription": {"text": title},
        "help": {"text": explain(rule.code), "markdown": markdown.strip()},
        "defaultConfiguration": {"level": rule.severities[0].value},
    }


def _result(each: Finding, fingerprint: str) -> dict[str, Any]:
    return {
        "ruleId": each.code,
        "ruleIndex": _INDEXES[each.code],
        "level": each.severity.value,
        "message": {"text": sentences_of(each)},
        "locations": [] if each.location is None else [_location(each.location, each.query)],
        "partialFingerprints": {"finding/v1": fingerprint},
    }


def _location(location: Location, query: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": _artifact(location.file),
            "region": _region(location),
        }
    }
    if query is not None:
        found["logicalLocations"] = [{"fullyQualifiedName": query, "kind": "function"}]
    return found


def _artifact(file: Path) -> dict[str, str]:
    shown = shown_path(file)
    if Path(shown).is_absolute():
        return {"uri": file.as_uri()}
    return {"uri": quote(os.fsencode(shown)), "uriBaseId": _ROOT}


def _region(location: Location) -> dict[str, int]:
    """Return the underlined part. A finding about a whole file is on its first line."""
    region = {"startLine": location.line or 1}
    if location.column is not None:
        region["startColumn"] = location.column
        region["endColumn"] = location.column + max(location.length, 1)
    return region
