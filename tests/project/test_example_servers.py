"""The examples that are web applications start, and answer as their README.md says.

The commands are read from the pages; the ports are free ones.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sqla_typedpool.embedded import Postgres
from sqla_typedpool.embedded.process import free_port, wait_until
from tests.project.test_examples import copy_of
from tests.support.commands import ROOT, user_environment
from tests.support.scratch_database import scratch_database

PATIENCE = 60.0
# The file that sets the port, by example.
PORTS = {"fastapi_shop": "shop/__main__.py", "litestar_shop": "shop.py"}


def command_of(example: str, pattern: str) -> str:
    """The command on the page of an example that begins like this."""
    page = (ROOT / "examples" / example / "README.md").read_text()
    (found,) = re.findall(rf"^ *\$ ({pattern}.*?)(?: +#.*)?$", page, re.MULTILINE)
    return str(found)


def is_answered(port: int) -> bool:
    return codes(f'curl -s -o /dev/null -w "%{{http_code}}\\n" localhost:{port}/') != ["000"]


def codes(command: str) -> list[str]:
    ended = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return ended.stdout.split()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("example", PORTS)
def test_an_exhausted_pool_is_answered_with_503(
    example: str, postgres: Postgres, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn")
    folder, port = copy_of(example, tmp_path), free_port()
    file = folder / PORTS[example]
    text, shown = file.read_text(), r"(?m)^PORT = (\d+)$"
    file.write_text(re.sub(shown, f"PORT = {port}", text))
    start = command_of(example, "python ").replace("python", sys.executable, 1).split()
    curl = command_of(example, "seq ").replace(re.findall(shown, text)[0], str(port))
    with scratch_database(postgres) as url:
        environment = user_environment(DATABASE_URL=url)
        server = subprocess.Popen(start, cwd=folder, env=environment)
        try:
            assert wait_until(lambda: is_answered(port), PATIENCE)
            counts = Counter(codes(curl))
            server.send_signal(signal.SIGINT)
            server.wait(PATIENCE)
        finally:
            server.kill()
            server.wait()
    assert counts.keys() == {"200", "503"}
    assert counts["200"] >= 5
    assert counts.total() == 40
