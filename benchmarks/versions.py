"""`python -m benchmarks.versions OLD_DIR NEW_DIR`: two versions of this package compared.

OLD_DIR and NEW_DIR are checkouts. Three worker processes (`version_worker.py`) run the same cases
(`version_cases.py`) on the old version, on the old version again and on the new one. Only one of
them runs at a time; every round runs each case on all three in a newly shuffled order.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.interleave import Reading
from benchmarks.one_cpu import use_one_cpu
from benchmarks.report import headline, machine
from benchmarks.version_cases import BOUND, BOUNDS, CASES, Bound
from benchmarks.version_results import (
    AGAIN,
    FEWEST_ROUNDS,
    NEW,
    OLD,
    Calls,
    Result,
    results_of,
    table,
)
from sqla_typedpool.embedded import Postgres

WORKER = Path(__file__).resolve().parent / "version_worker.py"
SERVER_SETTINGS = {"max_connections": "400"}
ROUNDS_OF_A_PROCESS = 10
"""Two processes that run the same code may differ in speed, so after these rounds all processes are
replaced by new ones."""


class WorkerError(Exception):
    """A worker reported an error, or ended."""


class Worker:
    """A worker process; it works only while one of these methods is called."""

    def __init__(self, name: str, checkout: Path, url: str) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), str(checkout), url],
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": str(checkout), "PYTHONHASHSEED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def open(self, case: str) -> None:
        self._ask("open", case)

    def measure(self, case: str) -> Reading:
        return dict(self._ask("measure", case))

    def count(self, case: str) -> Calls:
        return Calls(**self._ask("count", case))

    def _ask(self, *command: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(command), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"the worker of {self._name!r} ended at {' '.join(command)}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self._name}: {' '.join(command)} failed\n{answer['error']}")
        return answer["result"]

    def stop(self) -> None:
        """End the process: by closing its stdin, or else by killing it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Measurement:
    """Runs the rounds and keeps all readings and counts."""

    def __init__(self, checkouts: Mapping[str, Path], cases: Sequence[str], seed: int) -> None:
        self._checkouts = checkouts
        self._cases = cases
        self._random = random.Random(seed)
        self.readings: dict[str, dict[str, list[Reading]]] = {
            case: {version: [] for version in checkouts} for case in cases
        }
        self.calls: dict[str, dict[str, Calls]] = {}

    def run(self, url: str, rounds: int) -> None:
        for start in range(0, rounds, ROUNDS_OF_A_PROCESS):
            end = min(start + ROUNDS_OF_A_PROCESS, rounds)
            with self._workers(url) as workers:
                for _ in self._rounds(workers, 1):
                    pass  # warm-up
                for case, version, reading in self._rounds(workers, end - start):
                    self.readings[case][version].append(reading)
                print(f"{end} of {rounds} rounds", file=sys.stderr)
                if end == rounds:
                    self.calls = self._count(workers)

    @contextmanager
    def _workers(self, url: str) -> Iterator[dict[str, Worker]]:
        """The processes of all versions, started in random order, with all cases open."""
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            for version in self._shuffled(self._checkouts):
                workers[version] = Worker(version, self._checkouts[version], url)
                stack.callback(workers[version].stop)
                for case in self._cases:
                    workers[version].open(case)
            yield workers

    def _rounds(
        self, workers: Mapping[str, Worker], rounds: int
    ) -> Iterator[tuple[str, str, Reading]]:
        for _ in range(rounds):
            for case in self._cases:
                for version in self._shuffled(workers):
                    yield case, version, workers[version].measure(case)

    def _count(self, workers: Mapping[str, Worker]) -> dict[str, dict[str, Calls]]:
        return {
            case: {version: workers[version].count(case) for version in (OLD, NEW)}
            for case in self._cases
        }

    def _shuffled(self, names: Mapping[str, Any]) -> list[str]:
        return self._random.sample(list(names), len(names))

    def results(self, limit: float | None = None) -> list[Result]:
        """The result of each metric of each case; `limit` replaces the ratio of its bound."""
        return [
            result
            for case in self._cases
            for result in results_of(
                case, bound_of(case, limit), self.readings[case], self.calls[case]
            )
        ]


def bound_of(case: str, limit: float | None) -> Bound:
    bound = BOUNDS.get(case, BOUND)
    return bound if limit is None else replace(bound, ratio=limit)


def as_json(results: Sequence[Result], settings: Mapping[str, Any]) -> str:
    """All readings and all that was computed from them."""
    document = {"machine": machine(), "settings": settings, "results": list(map(_result, results))}
    return json.dumps(document, indent=2) + "\n"


def _result(result: Result) -> dict[str, Any]:
    return {
        **asdict(result),
        "medians": {version: result.median(version) for version in result.values},
        "new / old": asdict(result.new_to_old),
        "new / old, medians": result.of_medians,
        "old again / old": asdict(result.again_to_old),
        "noise": result.noise,
        "status": result.status,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions")
    parser.add_argument("old", type=Path, metavar="OLD_DIR", help="checkout of the old version")
    parser.add_argument("new", type=Path, metavar="NEW_DIR", help="checkout of the new version")
    parser.add_argument("--rounds", type=int, default=FEWEST_ROUNDS, help="default: %(default)s")
    parser.add_argument("-k", dest="name", default="", help="only cases with NAME in their name")
    parser.add_argument("--seed", type=int, default=1, help="for the order (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all readings to FILE")
    parser.add_argument("--limit", type=float, metavar="RATIO", help="in place of each case's own")
    parser.add_argument("--cpu", type=int, help="the CPU for all processes; -1: all CPUs")
    given = parser.parse_args()
    given.cases = [case for case in CASES if given.name in case]
    if not given.cases:
        parser.error(
            f"no case has {given.name!r} in its name; next: choose one of {'; '.join(CASES)}"
        )
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    return given


def main() -> None:
    given = arguments()
    cpu = use_one_cpu(given.cpu)
    old, new = given.old.resolve(), given.new.resolve()
    measurement = Measurement({OLD: old, AGAIN: old, NEW: new}, given.cases, given.seed)
    print(headline(machine()), flush=True)
    with Postgres.start(settings=SERVER_SETTINGS) as postgres:
        measurement.run(postgres.url("asyncpg"), given.rounds)
    results = measurement.results(given.limit)
    settings = {"rounds": given.rounds, "seed": given.seed, "cpu": cpu}
    print(", ".join(f"{name} {value}" for name, value in settings.items()))
    if given.rounds < FEWEST_ROUNDS:
        print(f"Fewer than {FEWEST_ROUNDS} rounds: the figures are not meaningful.")
    print("\n".join(table(results)))
    if given.json is not None:
        given.json.write_text(as_json(results, settings), encoding="utf-8")


if __name__ == "__main__":
    main()
