"""A temporary Prometheus server on 127.0.0.1, of the installed package."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqla_typedpool.embedded import process as processes
from sqla_typedpool.embedded.folders import ServerFolder
from sqla_typedpool.embedded.process import EmbeddedServerError

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
ANSWER_TIMEOUT = 10.0


class PrometheusServer:
    """A running server, and its HTTP API."""

    def __init__(self, port: int) -> None:
        self.port = port

    @classmethod
    @contextmanager
    def start(cls, program: str, scraped_port: int, rules: Path) -> Iterator[PrometheusServer]:
        """Run a server that scrapes one port of this machine, inside the block."""
        owned = ServerFolder("prometheus-")
        try:
            with cls._running(program, owned.path, scraped_port, rules) as server:
                yield server
        finally:
            owned.remove()

    @classmethod
    @contextmanager
    def _running(
        cls, program: str, folder: Path, scraped_port: int, rules: Path
    ) -> Iterator[PrometheusServer]:
        server, config = cls(processes.free_port()), folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 200ms, evaluation_interval: 200ms}\n"
            f"rule_files: [{str(rules)!r}]\n"
            "scrape_configs:\n"
            f"  - {{job_name: app, static_configs: [{{targets: ['127.0.0.1:{scraped_port}']}}]}}\n"
        )
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{server.port}",
        ]
        process = processes.spawn(command, folder / "prometheus.log", None)
        try:
            if not processes.wait_until(server.is_ready, START_TIMEOUT):
                log = processes.log_tail(folder / "prometheus.log")
                raise EmbeddedServerError(f"Prometheus is not ready in {START_TIMEOUT} s\n{log}")
            yield server
        finally:
            processes.end(process, (), STOP_TIMEOUT)

    def is_ready(self) -> bool:
        """Return whether the server answers."""
        try:
            address = f"http://127.0.0.1:{self.port}/-/ready"
            with urllib.request.urlopen(address, timeout=ANSWER_TIMEOUT) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str, **arguments: str) -> Any:
        """Return the data of a request to the API.

        :raises urllib.error.HTTPError: the server refuses it.
        """
        address = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(address, timeout=ANSWER_TIMEOUT) as answer:
            return json.load(answer)["data"]
