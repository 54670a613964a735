"""A worker process of `benchmarks.versions`: runs the cases on one checkout of the package.

Run by path: `python version_worker.py CHECKOUT DATABASE_URL`. It imports `sqla_typedpool` from
CHECKOUT and `benchmarks` from the folder of this file, so that all versions run the same cases.
Commands and answers are lines of JSON on stdin and stdout. Between two commands the process
waits for its stdin, so its event loop does not run while another worker is measured.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import sys
import traceback
from contextlib import AsyncExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from benchmarks.version_cases import OpenCase

HERE = Path(__file__).resolve().parent
TIMEOUT = 120.0  # seconds for one command
COUNTS = 5


def import_from(checkout: Path) -> Path:
    """Import both packages, each from its own place; the folder of `sqla_typedpool`."""
    folders = [each for each in sys.path if Path(each or ".").resolve() not in (HERE, HERE.parent)]
    sys.path[:] = [str(checkout), *folders]
    import sqla_typedpool

    package = Path(sqla_typedpool.__file__).resolve().parent
    if package.parent != checkout:
        raise ImportError(f"sqla_typedpool was imported from {package}, not from {checkout}")
    import_benchmarks()
    return package


def import_benchmarks() -> None:
    """Import `benchmarks` from the folder of this file, although CHECKOUT may have one too."""
    spec = importlib.util.spec_from_file_location(
        "benchmarks", HERE / "__init__.py", submodule_search_locations=[str(HERE)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = module
    spec.loader.exec_module(module)


class Worker:
    """The open cases, and the commands on them."""

    def __init__(self, package: Path, url: str) -> None:
        self._package = package
        self._url = url
        self._cases: dict[str, OpenCase] = {}
        self._opened = AsyncExitStack()

    async def open(self, case: str) -> None:
        from sqlalchemy.engine import make_url

        from benchmarks.version_cases import CASES

        opened = await self._opened.enter_async_context(CASES[case](make_url(self._url)))
        self._cases[case] = opened
        gc.collect()
        gc.freeze()

    async def measure(self, case: str) -> dict[str, float]:
        """The reading of one turn."""
        from benchmarks.interleave import undisturbed

        return dict(await undisturbed(self._cases[case].turn))

    async def count(self, case: str) -> dict[str, float]:
        """Python function calls per operation: the smallest of some counts."""
        opened = self._cases[case]
        await opened.turn()
        counts = [await calls_of(opened, self._package) for _ in range(COUNTS)]
        everywhere, in_package = min(counts)
        return {"all": everywhere, "package": in_package}

    async def close(self) -> None:
        await self._opened.aclose()


async def calls_of(case: OpenCase, package: Path) -> tuple[float, float]:
    """Python function calls per operation: all, and those of the package's functions.

    `sys.setprofile` also counts each time a coroutine or generator is resumed.
    """
    everywhere = in_package = 0
    prefix = f"{package}{os.sep}"

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal everywhere, in_package
        if event == "call":
            everywhere += 1
            in_package += frame.f_code.co_filename.startswith(prefix)

    gc.collect()
    gc.disable()
    sys.setprofile(profile)
    try:
        await case.run()
    finally:
        sys.setprofile(None)
        gc.enable()
    return everywhere / case.operations, in_package / case.operations


def serve(worker: Worker, answers: TextIO) -> None:
    """Run the commands read from stdin until it is closed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            work = getattr(worker, command)(*arguments)
            answer = {"result": loop.run_until_complete(asyncio.wait_for(work, TIMEOUT))}
        except Exception:  # noqa: BLE001 - the parent raises it
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
    loop.run_until_complete(worker.close())
    loop.close()


def main() -> None:
    checkout, url = Path(sys.argv[1]).resolve(), sys.argv[2]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what other code prints goes to stderr, not between the answers
    serve(Worker(import_from(checkout), url), answers)


if __name__ == "__main__":
    main()
