"""The metrics of Prometheus, the dashboard and the alerts, also with a real Prometheus server."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool import PoolTimeout, fetch_one
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.integrations.prometheus import PoolCollector, collect_from
from tests.integrations.test_metrics import file_engine
from tests.support.engines import PATIENCE, run
from tests.support.servers.prometheus import PrometheusServer

DOCS = Path(__file__).parents[2] / "docs"
ALERTS = DOCS / "grafana" / "alerts.yml"
DASHBOARD = json.loads((DOCS / "grafana" / "pool.json").read_text())


def scraped(*engines: AsyncEngine) -> dict[tuple[str, ...], float]:
    """Return the samples of one scrape, by the metric's name and the values of its labels."""
    registry = CollectorRegistry()
    collect_from(*engines, registry=registry)
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_has_the_numbers_of_the_pool(tmp_path: Path) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_size=1, max_overflow=1, pool_name="orders")
        for _ in range(3):
            await fetch_one(engine, int, "SELECT 1")
        async with engine.connect():
            found = scraped(engine)
        await engine.dispose()
        after = scraped(engine)
        prefix = "sqla_typedpool_"
        assert found[f"{prefix}connections", "orders", "used"] == 1
        assert found[f"{prefix}connections", "orders", "idle"] == 0
        assert found[f"{prefix}connections_max", "orders"] == 2
        assert found[f"{prefix}checkouts_total", "orders"] == 4
        assert found[f"{prefix}connections_opened_total", "orders"] == 1
        assert found[f"{prefix}wait_seconds_count", "orders"] == 4
        assert found[f"{prefix}use_seconds_bucket", "+Inf", "orders"] == 3
        assert found[f"{prefix}longest_use_seconds", "orders"] > 0
        assert after[f"{prefix}connections", "orders", "used"] == 0

    run(main())


def test_the_units_of_all_metrics_are_in_their_names(tmp_path: Path) -> None:
    engine = file_engine(tmp_path)
    for family in PoolCollector(engine).collect():
        assert re.fullmatch(r"sqla_typedpool_[a-z_]+", family.name)
        assert family.documentation
        assert (family.type == "histogram") <= family.name.endswith("_seconds")
        assert not re.search(r"_(ms|us|milliseconds)\b", family.name)


def test_a_pool_without_a_limit_has_an_infinite_maximum(tmp_path: Path) -> None:
    found = scraped(file_engine(tmp_path, max_overflow=-1, pool_name="free"))
    assert found["sqla_typedpool_connections_max", "free"] == float("inf")


def test_refused_and_timed_out_checkouts_are_counted(tmp_path: Path) -> None:
    async def main() -> None:
        options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.3, "pool_name": "small"}
        engine = file_engine(tmp_path, **options)
        async with engine.connect():
            with pytest.raises(PoolTimeout):
                await engine.connect()
        found = scraped(engine)
        await engine.dispose()
        assert found["sqla_typedpool_checkout_timeouts_total", "small"] == 1
        assert found["sqla_typedpool_checkouts_refused_total", "small", "saturated"] == 0

    run(main())


def test_the_multiprocess_mode_is_refused_with_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with pytest.raises(CannotRun, match=r"scrape each worker .* or export with OpenTelemetry"):
        PoolCollector(file_engine(tmp_path))


def test_a_second_registration_is_refused_with_what_to_do(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    collector = collect_from(file_engine(tmp_path), registry=registry)
    with pytest.raises(CannotRun, match=r"already; next: pass all engines to one collect_from"):
        collect_from(file_engine(tmp_path), registry=registry)
    registry.unregister(collector)
    collect_from(file_engine(tmp_path), registry=registry)


@pytest.mark.parametrize("name", ['a "quoted" name', r"a \ backslash", r"\n", "{x=1,}"])
def test_every_name_of_a_pool_is_read_back_from_a_scrape(name: str, tmp_path: Path) -> None:
    found = scraped(file_engine(tmp_path, pool_name=name))
    assert ("sqla_typedpool_pending_requests", name) in found


def test_another_pool_is_refused_with_the_change_that_is_needed() -> None:
    with pytest.raises(TypeError, match="pass poolclass=TypedPool"):
        PoolCollector(create_async_engine("sqlite+aiosqlite://"))


# --------------------------------------------------------- the dashboard and the alerts


def dashboard_queries() -> dict[str, str]:
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }


def alert_queries() -> dict[str, str]:
    """Return the expressions of the alerts; the file is simple enough for two patterns."""
    text = ALERTS.read_text()
    found = {}
    for part in text.split("- alert: ")[1:]:
        name, _, rest = part.partition("\n")
        match = re.search(r"expr: (?:>\n((?: {10}.*\n)+)|(.+)\n)", rest)
        assert match is not None
        found[name] = " ".join((match[1] or match[2]).split())
    return found


QUERIES = {**dashboard_queries(), **alert_queries()}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_uses_only_metrics_and_labels_that_exist(name: str, tmp_path: Path) -> None:
    families = list(PoolCollector(file_engine(tmp_path)).collect())
    samples = {sample.name for family in families for sample in family.samples}
    labels = {label for family in families for each in family.samples for label in each.labels}
    used = set(re.findall(r"sqla_typedpool_\w+", QUERIES[name]))
    assert used
    assert used <= samples
    assert set(re.findall(r"(\w+)=~?\"", QUERIES[name])) <= labels


def test_the_dashboard_shows_what_an_on_call_engineer_asks_first() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    for wanted in ("Saturation", "Wait", "closed, by reason", "Outage", "Overload"):
        assert any(wanted in title for title in titles)


def test_each_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path, promtool: str) -> None:
    tests = (Path(__file__).parent / "alert_tests.yml").read_text()
    assert set(re.findall(r"alertname: (\w+)", tests)) == set(alert_queries())
    file = tmp_path / "tests.yml"
    file.write_text(tests.replace("{rules}", str(ALERTS)))
    command = [promtool, "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def result_of(prometheus: PrometheusServer, expression: str) -> list[Any]:
    """Return the result of an expression, with the variables of the dashboard replaced."""
    plain = expression.replace("$__rate_interval", "10s").replace("$pool", ".*")
    found = prometheus.get("query", query=plain)["result"]
    assert isinstance(found, list)
    return found


async def until_there_are_rates(prometheus: PrometheusServer, engine: AsyncEngine) -> None:
    """Use the pool until two scrapes have seen that."""
    while not result_of(prometheus, "rate(sqla_typedpool_checkouts_total[10s]) > 0"):
        await fetch_one(engine, int, "SELECT 1")
        await asyncio.sleep(0.1)


def test_every_query_has_a_result_on_a_real_server(tmp_path: Path, prometheus: str) -> None:
    async def main() -> None:
        engine = file_engine(tmp_path, pool_name="orders")
        await fetch_one(engine, int, "SELECT 1")
        registry = CollectorRegistry()
        collect_from(engine, registry=registry)
        http, thread = start_http_server(0, "127.0.0.1", registry)
        try:
            with PrometheusServer.start(prometheus, http.server_port, ALERTS) as server:
                await asyncio.wait_for(until_there_are_rates(server, engine), 3 * PATIENCE)
                empty = [
                    name
                    for name, each in dashboard_queries().items()
                    if not result_of(server, each)
                ]
                assert empty == []
                for each in alert_queries().values():
                    result_of(server, each)  # raises HTTPError if it is not a query
                rules = server.get("rules")["groups"][0]["rules"]
                assert {each["name"]: each.get("lastError", "") for each in rules} == (
                    dict.fromkeys(alert_queries(), "")
                )
        finally:
            http.shutdown()
            http.server_close()
            thread.join(PATIENCE)
            await engine.dispose()

    run(main())
