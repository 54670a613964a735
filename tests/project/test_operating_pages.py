"""What the pages of docs/operating and of the options name exists, with the same figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sqla_typedpool import PoolStats
from sqla_typedpool.integrations import asgi
from tests.project.test_docs import leads_somewhere
from tests.support.log_table import documented

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
METRICS = (DOCS / "operating" / "metrics.md").read_text()
HEALTH = (DOCS / "operating" / "health.md").read_text()
OUTAGES = (DOCS / "operating" / "outages.md").read_text()
ALERTS = (DOCS / "grafana" / "alerts.yml").read_text()
OPERATING = sorted((DOCS / "operating").glob("*.md"))
every_operating_page = pytest.mark.parametrize(
    "page", [DOCS / "reference" / "options.md", *OPERATING], ids=lambda page: page.stem
)


@every_operating_page
def test_every_number_of_stats_that_a_page_names_exists(page: Path) -> None:
    names = re.findall(r"`stats\(\)\.(\w+)", page.read_text())
    assert [name for name in names if name not in PoolStats.__dataclass_fields__] == []


@every_operating_page
def test_every_event_that_a_page_names_is_logged(page: Path) -> None:
    lists = re.findall(r"\b[Ee]vents? ((?:`\w+`(?:, | and )?)+)", page.read_text())
    events = [name for each in lists for name in re.findall(r"\w+", each.replace(" and ", " "))]
    assert [name for name in events if name not in documented()] == []


@every_operating_page
def test_every_alert_and_metric_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    lists = re.findall(r"\balerts? \[?((?:`\w+`(?:, |,?\s+and )?)+)", text)
    alerts = [name for each in lists for name in re.findall(r"`(\w+)`", each)]
    assert [name for name in alerts if f"alert: {name}\n" not in ALERTS] == []
    metrics = re.findall(r"\bmetric `(\w+)`", text)
    assert [name for name in metrics if f"`{name}`" not in METRICS] == []


def test_the_table_of_alerts_is_that_of_the_alerting_rules() -> None:
    rows = re.findall(r"^\| `([A-Z]\w+)`: ", METRICS, re.MULTILINE)
    assert rows == re.findall(r"alert: (\w+)$", ALERTS, re.MULTILINE)


def test_the_probes_of_kubernetes_use_paths_that_are_public() -> None:
    (code,) = re.findall(r"^```yaml\n(.*?)^```$", HEALTH, re.MULTILINE | re.DOTALL)
    probes = yaml.safe_load(code).values()
    paths = {probe["httpGet"]["path"].removeprefix("/_pool") for probe in probes}
    assert paths == set(asgi._PUBLIC)


def test_every_reason_of_readiness_on_the_page_is_given() -> None:
    rows = re.findall(r"^\| (?:200|503) \| (.*?) \|", HEALTH, re.MULTILINE)
    reasons = [reason for row in rows for reason in re.findall(r"`(.*?)`", row)]
    assert len(reasons) == 6
    source = Path(asgi.__file__).read_text()
    for reason in reasons:
        begin = re.split(r"\d|\.\.\.", reason)[0]
        assert f'"{begin}' in source, reason


def test_the_measured_recovery_times_are_those_of_the_benchmark() -> None:
    measured = (ROOT / "benchmarks" / "README.md").read_text().partition("## Outages")[2]
    known = {row.split(" | ", 1)[1] for row in measured.splitlines() if row.count(" | ") == 2}
    table = OUTAGES.partition("**Measured**")[2].partition("\n## ")[0]
    _, *rows = [row.split(" | ", 1)[1] for row in table.splitlines() if row.count(" | ") == 2]
    assert len(rows) >= 7
    assert [row for row in rows if row not in known] == []


def test_every_page_that_an_alert_names_exists() -> None:
    pages = re.findall(r'page: "(.*?)"', ALERTS)
    assert len(pages) == ALERTS.count("- alert: ")
    assert [page for page in pages if not leads_somewhere(ROOT / "README.md", page)] == []


def test_every_alert_leads_to_a_page_about_operating() -> None:
    """Whoever is on call reads what to do, and not what an option means."""
    for page in re.findall(r'page: "(.*?)"', ALERTS):
        path, _, section = page.partition("#")
        text = (ROOT / path).read_text()
        assert path.startswith("docs/operating/")
        assert section or re.search(r"^# .*\n\nWhat to do when ", text, re.MULTILINE), page
