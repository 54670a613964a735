"""The command line: arguments, exit codes, and errors that are one clear sentence."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from sqla_typedpool import cli

ROOT = Path(__file__).parents[2]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("sqla-typedpool ")


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "sqla_typedpool", "check", "--help"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("usage: sqla-typedpool check")


@pytest.mark.parametrize(
    ("seconds", "complaint"),
    [
        ("0", "0 is not between 0.1 and 3600"),
        ("nan", "nan is not between 0.1 and 3600"),
        ("soon", "'soon' is not a number"),
    ],
)
def test_a_wrong_number_is_a_usage_error_that_names_the_bounds(
    seconds: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "app", "--timeout", seconds])
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_an_interrupt_is_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.set_defaults(command=interrupted)
    monkeypatch.setattr(cli, "build_parser", lambda: parser)
    assert cli.main(["check"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_password_in_the_message_of_a_module_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "talks.py").write_text("raise ValueError('postgresql://me:s3cret@h/d is wrong')")
    assert cli.main(["check", "talks", "--offline"]) == 2
    assert "postgresql://me:***@h/d is wrong" in capsys.readouterr().err


def test_offline_and_a_database_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "app", "--offline", "--ephemeral"]) == 2
    assert "--offline uses no database" in capsys.readouterr().err
