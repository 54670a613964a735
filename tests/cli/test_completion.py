"""The completion of the command line, in a real bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sqla_typedpool import cli
from sqla_typedpool.check.rules import RULES

BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None, reason="there is no bash")

# Bash calls the function that `complete` has registered with these variables.
ASK = """
read -r _ _ _ _ function _ <<< "$(complete -p sqla-typedpool)"
COMP_WORDS=(sqla-typedpool "$@")
COMP_CWORD=$#
"$function"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab")
    printed = subprocess.run(
        [sys.executable, "-m", "sqla_typedpool", "completion", "bash"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    script = tmp_path_factory.mktemp("completion") / "script.bash"
    script.write_text(printed.stdout + ASK)
    return script


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for file in ("app/__init__.py", "app/users.py", "app/api/__init__.py", "app/sql/get.sql"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "app.env").touch()
    (tmp_path / "report.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("ch", {"check"}),
        ("", {"check", "prepare", "describe", "init", "top", "completion"}),
        ("check --da", {"--database-url"}),
        ("check --no", {"--no-color"}),
        ("check --format g", {"github", "gitlab"}),
        ("describe --as py", {"pydantic"}),
        ("completion z", {"zsh"}),
        ("check --explain TP10", {each for each in RULES if each.startswith("TP10")}),
        ("prepare app --select TP5", {each for each in RULES if each.startswith("TP5")}),
        ("check a", {"app"}),
        ("check re", {"report.py"}),
        ("check app/", {"app/__init__.py", "app/users.py", "app/api", "app/sql"}),
        ("check app.", {"app.users", "app.api"}),
        ("check --offline app.u", {"app.users"}),
        ("check app --exclude app.a", {"app.api"}),
        ("check --env-file a", {"app", "app.env"}),
        ("check --snapshots a", {"app"}),
        ("init app.u", {"app.users"}),
    ],
)
def test_bash_completes(
    words: str, completions: set[str], bash_script: Path, project: Path
) -> None:
    assert BASH is not None
    answer = subprocess.run(
        [BASH, "--norc", str(bash_script), *words.split(" ")],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert set(answer.stdout.split()) == completions
    assert answer.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_there_is_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "database-url" in script
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=script, text=True, timeout=30, check=True)


def test_without_shtab_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 2
    assert 'next: pip install "sqla-typedpool[cli]"' in capsys.readouterr().err
