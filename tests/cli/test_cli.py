"""The command line: arguments, exit codes, and errors that are one clear sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sqla_typedpool import cli, demo

ROOT = Path(__file__).parents[2]
NOBODY_LISTENS = "postgresql://me:s3cret@127.0.0.1:1/shop"


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("sqla-typedpool ")


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "sqla_typedpool", "demo", "--help"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("usage: sqla-typedpool demo")


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seconds", "0"], "0 is not within 2 and 600"),
        (["--seconds", "nan"], "nan is not within 2 and 600"),
        (["--seconds", "soon"], "invalid number value: 'soon'"),
        (["--workers", "0"], "0 is not within 1 and 1000"),
        (["--workers", "2.5"], "invalid whole number value: '2.5'"),
    ],
)
def test_a_wrong_number_is_a_usage_error_that_names_the_bounds(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", *arguments])
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_the_options_reach_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[demo.Options] = []
    monkeypatch.setattr(demo, "run", seen.append)
    arguments = ["--url", "postgresql://h/d", "--seconds", "5", "--workers", "7", "--plain"]
    assert cli.main(["demo", *arguments, "--json", "f.json"]) == 0
    assert seen == [demo.Options("postgresql://h/d", 5.0, 7, True, Path("f.json"))]


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("mysql://me:s3cret@h/shop", "PostgreSQL only, and mysql://me:***@h/shop is not"),
        ("sqlite:///s3cret.db", "PostgreSQL only"),
        ("oddbase://me:s3cret@h/shop", "PostgreSQL only"),
        ("me:s3cret@h/shop", "not a database URL"),
        (NOBODY_LISTENS, "Could not use postgresql+asyncpg://me:***@127.0.0.1:1/shop"),
        (NOBODY_LISTENS + "?sslkey=s3cret", "Could not use"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence_without_the_password(
    url: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "--url", url]) == 2
    said = capsys.readouterr()
    assert hint in said.err
    assert said.err.count("\n") == 1
    assert "me:s3cret" not in said.out + said.err
    assert "Traceback" not in said.err


def test_a_json_file_in_no_folder_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "--json", str(tmp_path / "none" / "f.json")]) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_an_interrupt_is_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: demo.Options) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert cli.main(["demo"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_password_in_somebody_elses_words_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "talks.py").write_text("raise ValueError('postgresql://me:s3cret@h/d is wrong')")
    assert cli.main(["check", "talks", "--offline"]) == 2
    assert "postgresql://me:***@h/d is wrong" in capsys.readouterr().err


def test_offline_and_a_database_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "app", "--offline", "--ephemeral"]) == 2
    assert "--offline asks no database" in capsys.readouterr().err
