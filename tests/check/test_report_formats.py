"""Reports for other programs: one line for each finding, SARIF, Code Quality of GitLab."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.check.report import Report
from sqla_typedpool.check.report_concise import as_concise
from sqla_typedpool.check.report_formats import FORMATS
from sqla_typedpool.check.report_gitlab import as_gitlab
from sqla_typedpool.check.report_sarif import as_sarif
from sqla_typedpool.check.rules import (
    DAMAGED_SNAPSHOT,
    NEEDLESS_OPTIONAL,
    NULLABLE_COLUMN,
    RULES,
    SELECT_STAR,
    finding,
)
from sqla_typedpool.cli import build_parser

ROOT = Path(__file__).parents[2]
EMPTY = Report((), 3, "snapshots in .sqla_typedpool", 0.1)


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """An error, a warning, a note, and an error about a file that is not below the folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    users = folder / "app" / "ünî users.py"
    findings = (
        finding(
            NULLABLE_COLUMN,
            "nick may be NULL",
            Location(users, 14, 12, 4),
            query="app.users.get_user",
            reason="users.nick may be NULL",
            hint="declare str | None",
            subject="nick",
        ),
        finding(SELECT_STAR, "SELECT *", Location(users, 3), query="app.users.all_users"),
        finding(NEEDLESS_OPTIONAL, "id is\nnever NULL\x1b[2J", Location(users, 14, 2, 0)),
        finding(DAMAGED_SNAPSHOT, "damaged", Location(tmp_path / "elsewhere" / "a b.json")),
    )
    return Report(findings, 3, "PostgreSQL 15", 0.1)


# ------------------------------------------------------------------------------- all formats


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_renders_a_report_with_and_without_findings(name: str, report: Report) -> None:
    for each in RULES:
        assert each not in FORMATS[name](EMPTY) or name == "sarif"
    for each in report.findings:
        assert each.code in FORMATS[name](report)


@pytest.mark.parametrize("name", ["json", "gitlab", "sarif"])
def test_a_document_is_valid_json_also_without_findings(name: str, report: Report) -> None:
    json.loads(FORMATS[name](EMPTY))
    json.loads(FORMATS[name](report))


@pytest.mark.parametrize("name", ["concise", "github"])
def test_a_format_of_lines_is_empty_without_findings(name: str) -> None:
    assert FORMATS[name](EMPTY) == ""


@pytest.mark.parametrize("command", [["check"], ["prepare"], ["prepare", "--check"]])
@pytest.mark.parametrize("name", FORMATS)
def test_the_commands_accept_every_format(command: list[str], name: str) -> None:
    parsed = build_parser().parse_args([*command, "app", "--format", name])
    assert parsed.format == name


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "guide" / "checking.md").read_text()
    assert f"\n| `{name}` | " in page


# ----------------------------------------------------------------------------------- concise


def test_concise_has_one_line_for_each_finding(report: Report) -> None:
    elsewhere, select_star, never_null, nullable = as_concise(report).splitlines()
    assert select_star == "app/ünî users.py:3: TP112 warning SELECT * [app.users.all_users]"
    assert never_null == "app/ünî users.py:14:2: TP107 note id is never NULL [2J"
    assert nullable == ("app/ünî users.py:14:12: TP101 error nick may be NULL [app.users.get_user]")
    assert elsewhere.endswith("elsewhere/a b.json: TP403 error damaged")


def test_a_concise_line_without_a_location_begins_with_the_code() -> None:
    report = Report((finding(SELECT_STAR, "SELECT *", None),), 1, "db", 0)
    assert as_concise(report) == "TP112 warning SELECT *"


# ------------------------------------------------------------------------------------- SARIF
# The names, types and limits are those of the JSON schema of SARIF 2.1.0 (OASIS).


def sarif(report: Report) -> dict[str, Any]:
    document = json.loads(as_sarif(report))
    assert document["version"] == "2.1.0"
    assert re.fullmatch(r"https://\S+sarif-2\.1\.0\.json", document["$schema"])
    (run,) = document["runs"]
    found: dict[str, Any] = run
    return found


def test_every_rule_is_described_in_sarif() -> None:
    driver = sarif(EMPTY)["tool"]["driver"]
    assert driver["name"] == "sqla-typedpool"
    assert set(driver) <= {"name", "version", "rules"}
    rules = driver["rules"]
    assert [each["id"] for each in rules] == list(RULES)
    for rule in rules:
        assert set(rule) == {
            *("id", "shortDescription", "fullDescription", "help", "defaultConfiguration")
        }
        for name in ("shortDescription", "fullDescription", "help"):
            assert rule[name]["text"]
        assert rule["help"]["markdown"]
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")


def test_every_result_of_sarif_refers_to_its_rule(report: Report) -> None:
    run = sarif(report)
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == len(report.findings)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
    levels = {each["ruleId"]: each["level"] for each in run["results"]}
    assert levels == {"TP101": "error", "TP112": "warning", "TP107": "note", "TP403": "error"}


def test_a_run_without_findings_has_an_empty_list_of_results() -> None:
    assert sarif(EMPTY)["results"] == []  # without the list, the run counts as failed


def located(report: Report, code: str) -> dict[str, Any]:
    (result,) = [each for each in sarif(report)["results"] if each["ruleId"] == code]
    (location,) = result["locations"]
    found: dict[str, Any] = location
    return found


def test_uris_of_sarif_are_relative_to_the_source_root(report: Report) -> None:
    found = located(report, "TP101")
    assert found["physicalLocation"]["artifactLocation"] == {
        "uri": "app/%C3%BCn%C3%AE%20users.py",
        "uriBaseId": "%SRCROOT%",
    }
    assert "uri" not in sarif(report)["originalUriBaseIds"]["%SRCROOT%"]


def test_the_uri_of_a_file_elsewhere_is_absolute(report: Report) -> None:
    artifact = located(report, "TP403")["physicalLocation"]["artifactLocation"]
    assert artifact["uri"].startswith("file:///")
    assert artifact["uri"].endswith("/elsewhere/a%20b.json")
    assert "uriBaseId" not in artifact


def test_a_region_of_sarif_ends_behind_the_last_character(report: Report) -> None:
    region = located(report, "TP101")["physicalLocation"]["region"]
    assert region == {"startLine": 14, "startColumn": 12, "endColumn": 16}
    region = located(report, "TP107")["physicalLocation"]["region"]
    assert region == {"startLine": 14, "startColumn": 2, "endColumn": 3}
    assert sarif(report)["columnKind"] == "unicodeCodePoints"


def test_a_finding_about_a_line_or_a_whole_file_has_a_region_without_columns(
    report: Report,
) -> None:
    assert located(report, "TP112")["physicalLocation"]["region"] == {"startLine": 3}
    assert located(report, "TP403")["physicalLocation"]["region"] == {"startLine": 1}


def test_the_query_is_a_logical_location(report: Report) -> None:
    (query,) = located(report, "TP101")["logicalLocations"]
    assert query == {"fullyQualifiedName": "app.users.get_user", "kind": "function"}
    assert "logicalLocations" not in located(report, "TP403")


def test_the_message_of_sarif_has_the_reason_and_the_hint(report: Report) -> None:
    (result,) = [each for each in sarif(report)["results"] if each["ruleId"] == "TP101"]
    assert result["message"]["text"] == (
        "nick may be NULL\nbecause: users.nick may be NULL\nnext: declare str | None"
    )


def test_a_finding_without_a_location_has_no_locations_in_sarif() -> None:
    (result,) = sarif(Report((finding(SELECT_STAR, "x", None),), 1, "db", 0))["results"]
    assert result["locations"] == []


# ------------------------------------------------------------------------------------ GitLab


def issues(report: Report) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(as_gitlab(report))
    return found


def test_every_issue_of_gitlab_has_the_required_keys(report: Report) -> None:
    for issue in issues(report):
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert issue["location"]["lines"]["begin"] >= 1
        assert not issue["location"]["path"].startswith("./")
    assert issues(EMPTY) == []


def test_an_issue_of_gitlab_is_at_the_line_of_its_finding(report: Report) -> None:
    (issue,) = [each for each in issues(report) if each["check_name"] == "TP101"]
    assert issue["location"] == {"path": "app/ünî users.py", "lines": {"begin": 14}}
    assert (issue["severity"], issue["description"]) == ("major", "nick may be NULL")


def test_the_three_severities_differ_in_gitlab(report: Report) -> None:
    found = {each["check_name"]: each["severity"] for each in issues(report)}
    assert found == {"TP101": "major", "TP112": "minor", "TP107": "info", "TP403": "major"}


# ------------------------------------------------------------------------------ fingerprints


def fingerprints(report: Report) -> list[str]:
    of_gitlab = [each["fingerprint"] for each in issues(report)]
    of_sarif = [each["partialFingerprints"]["finding/v1"] for each in sarif(report)["results"]]
    assert of_gitlab == of_sarif
    return of_gitlab


def moved(each: Finding, lines: int) -> Finding:
    assert each.location is not None
    line = each.location.line
    return replace(
        each, location=replace(each.location, line=line and line + lines, column=line and 1)
    )


def test_a_fingerprint_survives_a_shift_of_lines(report: Report) -> None:
    shifted = replace(report, findings=tuple(moved(each, 40) for each in report.findings))
    assert set(fingerprints(shifted)) == set(fingerprints(report))


def test_equal_findings_have_different_fingerprints(report: Report) -> None:
    first = report.findings[0]
    twice = replace(report, findings=(first, moved(first, 5), moved(first, 9)))
    assert len(set(fingerprints(twice))) == 3
    shifted = replace(twice, findings=tuple(moved(each, 1) for each in twice.findings))
    assert fingerprints(shifted) == fingerprints(twice)


@pytest.mark.parametrize(
    "change",
    [
        {"message": "other"},
        {"query": "app.other"},
        {"subject": "other"},
        {"code": "TP102"},
        {"location": Location(Path("other.py"), 14, 12, 4)},
    ],
)
def test_another_finding_has_another_fingerprint(report: Report, change: dict[str, Any]) -> None:
    first = report.findings[0]
    other = replace(report, findings=(replace(first, **change),))
    assert fingerprints(other) != fingerprints(replace(report, findings=(first,)))


def test_the_severity_is_no_part_of_a_fingerprint(report: Report) -> None:
    first = report.findings[0]
    weaker = replace(report, findings=(replace(first, severity=Severity.NOTE),))
    assert fingerprints(weaker) == fingerprints(replace(report, findings=(first,)))
