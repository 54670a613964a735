"""A wrong command line is one error on standard error, which names what was meant."""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import sqla_typedpool_pytest

from sqla_typedpool import cli
from sqla_typedpool.check.config import Settings
from tests.support.commands import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the only line of the error, after the usage."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    usage, error = err.splitlines()
    assert usage.startswith("usage: sqla-typedpool ")
    assert error.startswith("sqla-typedpool: ")
    assert "; next: " in error or error.endswith("?")
    return error.removeprefix("sqla-typedpool: ")


def subparsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in cli.build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


COMMANDS = dict(subparsers())


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("chekc", "chekc is no command; did you mean check?"),
        ("Check", "did you mean check?"),
        ("help", "next: run `sqla-typedpool --help`"),
        ("version", "next: run `sqla-typedpool --version`"),
        ("nothing", "next: use one of check, prepare, describe, init, top, completion"),
        ("", "'' is no command; next: use one of check, prepare, describe, init, top, completion"),
        ("app", "app is no command; did you mean `sqla-typedpool check app`?"),
        ("app.users", "did you mean `sqla-typedpool check app.users`?"),
        ("app/users.py", "did you mean `sqla-typedpool check app/users.py`?"),
        (".", "did you mean `sqla-typedpool check .`?"),
        ("SELECT 1", 'did you mean `sqla-typedpool describe "SELECT ..."`?'),
        ("TP101", "did you mean `sqla-typedpool check --explain TP101`?"),
        ("http://h/_pool", "did you mean `sqla-typedpool top http://h/_pool`?"),
    ],
)
def test_a_wrong_command_names_the_one_that_was_meant(
    given: str, hint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "app").mkdir()
    (folder / "app" / "users.py").touch()
    assert refused(capsys, given).endswith(hint)


@pytest.mark.parametrize(
    ("command", "given", "hint"),
    [
        ("check", "--databse-url", "did you mean --database-url?"),
        ("check", "--databse-url=postgresql://me:s3cret@h/d", "did you mean --database-url?"),
        ("check", "--url", "did you mean --database-url?"),
        ("check", "--output-format", "did you mean --format?"),
        ("check", "--off", "did you mean --offline?"),
        ("check", "--colour", "did you mean --color?"),
        ("check", "--no-colour", "did you mean --no-color?"),
        ("check", "-q", "did you mean --quiet?"),
        ("check", "--OFFLINE", "did you mean --offline?"),
        ("check", "--database_url", "did you mean --database-url?"),
        ("check", "--verbose", "next: run `sqla-typedpool check --help`"),
        ("check", "--name", "is an option of describe, not of check; next: remove it"),
        ("top", "--onec", "did you mean --once?"),
        ("check", "--version", "must precede the command; next: run `sqla-typedpool --version`"),
        ("prepare", "--offline", "is an option of check, not of prepare; next: remove it"),
        ("init", "--format", "is an option of check, prepare and describe, not of init; next: "),
    ],
)
def test_a_wrong_option_names_the_one_that_was_meant_and_the_command_that_has_it(
    command: str, given: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, command, given)
    assert hint in error
    assert given.partition("=")[0] in error
    assert "s3cret" not in error


@pytest.mark.parametrize(
    ("command", "given"),
    [
        *[("check", f"--no-{each}") for each in ("write", "fix", "strict", "offline", "quiet")],
        *[("check", f"-{each}") for each in "cdmnopfw"],
        *[("check", f"--{each}") for each in ("out", "silent", "list", "statistics", "config")],
        *[("check", f"--{each}") for each in ("ini", "sql", "fail", "max", "pg", "temp", "no")],
        ("describe", "--sql"),
        ("top", "--version-of-the-server"),
    ],
)
def test_an_option_that_resembles_none_has_no_suggestion(
    command: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, command, given)
    assert error == f"there is no option {given}; next: run `sqla-typedpool {command} --help`"


def test_a_misspelt_option_before_the_command_is_not_the_version(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = refused(capsys, "--verbose", "check")
    assert error == "there is no option --verbose; next: run `sqla-typedpool --help`"
    assert refused(capsys, "-V").endswith("did you mean --version?")


def test_several_commands_that_have_an_option_are_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = refused(capsys, "--format", "json", "check")
    assert error.endswith("next: write it after check, prepare or describe")


def test_an_option_before_the_command_is_told_where_it_belongs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = refused(capsys, "--offline", "check", "app")
    assert error == "--offline must follow the command; next: write it after check"


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_can_be_abbreviated(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for option in COMMANDS[command]._option_string_actions:
        if len(option) > 4:
            error = refused(capsys, command, option[:-1])
            assert error == f"there is no option {option[:-1]}; did you mean {option}?"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("check", "--format", "jsn"), "--format cannot be jsn; did you mean json?"),
        (("check", "--format", "JSON"), "did you mean json?"),
        (("describe", "--format", "yaml"), "next: use one of text, json"),
        (("describe", "--as", "pydantc"), "did you mean pydantic?"),
        (("completion", "bsh"), "SHELL cannot be bsh; did you mean bash?"),
    ],
)
def test_a_wrong_value_names_the_one_that_was_meant(
    arguments: tuple[str, ...], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *arguments).endswith(hint)


def test_a_statement_without_quotes_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "describe", "SELECT", "id", "FROM", "users")
    assert error.startswith("there is an unexpected argument: id; next: put the statement into ")


def test_a_statement_that_begins_with_a_comment_is_no_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = cli.main(["describe", "-- get a user\nSELECT 1", "--database-url", ""])
    assert (code, "--database-url is empty" in capsys.readouterr().err) == (2, True)


def test_an_option_that_takes_no_value_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "check", "--color=always")
    assert error.startswith("--color/--no-color takes no value; next: ")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("check", "app", "--database-url"), "--database-url needs a value; next: run "),
        (("check", "--timeout", "soon"), "--timeout: 'soon' is not a number; next: run "),
        (("check", "--postgres", "16.4"), "--postgres: '16.4' is not a whole number; next: run "),
        (("check", "--timeout", "nan"), "--timeout: nan is not between 0.1 and 3600; next: run "),
    ],
)
def test_a_missing_or_wrong_value_is_named_with_its_option(
    arguments: tuple[str, ...], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *arguments).startswith(fault)


def test_a_header_without_its_option_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "top", "http://h/_pool", "Authorization: Bearer s3cret")
    assert error.startswith("there is an unexpected argument: Authorization; next: give a header ")
    assert "s3cret" not in error


def test_without_arguments_the_help_goes_to_standard_error_with_exit_code_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(f"\n    {name}" in err for name in COMMANDS)


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_ends_with_examples_that_its_parser_accepts(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = help_of(command, capsys).partition("\nexamples:\n\n")[2].splitlines()
    assert examples
    for each in examples:
        program, *arguments = shlex.split(each.partition(" > ")[0])
        assert program == "sqla-typedpool"
        assert arguments[0] == command
        cli.build_parser().parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["check"], "there are no modules to check; next: name them"),
        (["check", "--explain", ""], 'no rule has the code ""; next: use one of TP001-'),
        (["check", "--explain", "TP999"], 'no rule has the code "TP999"; next: use one of TP001-'),
        (["describe", "--file", "none"], "none cannot be read as UTF-8 text: No such file or "),
        (
            ["describe", "SELECT 1", "--env-file", "."],
            "--env-file . cannot be read: Is a directo",
        ),
        (["describe", "SELECT 1"], "there is no database; next: give --database-url"),
        (["prepare", "app"], "there is no module app"),
        (["top", "127.0.0.1"], "127.0.0.1 is no http or https URL; next: give the URL of its"),
        (["init"], "there is no Python package, and no module that uses sqla_typedpool, in "),
    ],
)
def test_in_an_empty_folder_each_command_names_what_is_missing(
    arguments: list[str],
    hint: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "app", raising=False)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"sqla-typedpool: {hint}")
    assert err.count("\n") == 1


def test_an_option_has_the_name_of_its_setting_and_of_its_ini_option() -> None:
    options = {each.dest for each in COMMANDS["check"]._actions}
    settings = {each.name for each in fields(Settings)}
    assert settings <= options
    ini = [
        call.args[0]
        for call in ast.walk(ast.parse(Path(sqla_typedpool_pytest.__file__).read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("addini", "addoption")
    ]
    names = {each.value for each in ini if isinstance(each, ast.Constant)}
    assert len(names) >= 7
    for name in names:
        short = name.strip("-").removeprefix("typedpool").strip("-_").replace("-", "_")
        assert short in options | {"check"}


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_fits_the_terminal(
    command: str,
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    before_examples = help_of(command, capsys).partition("\nexamples:")[0]
    assert max(map(len, before_examples.splitlines())) <= columns


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_option_with_a_value_tells_its_default(command: str) -> None:
    for action in COMMANDS[command]._actions:
        if action.option_strings and action.nargs != 0:
            assert "(default: " in str(action.help), action.option_strings


@pytest.mark.parametrize(
    ("arguments", "redirect", "code"),
    [
        ("check --help", "| true", 2),
        ("chekc", "2>&1 | true", 2),
        ("check app", "2>&1 | true", 2),
        ("--version", ">&-", 0),
        ("check --explain TP101", ">&-", 0),
        ("check app", "2>&-", 2),
    ],
)
def test_a_closed_output_gives_no_traceback(
    arguments: str, redirect: str, code: int, folder: Path
) -> None:
    command = f"{sys.executable} -u -m sqla_typedpool {arguments} {redirect}; exit ${{PIPESTATUS}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        ["bash", "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "Exception ignored" not in ended.stderr
    # the reader may have read everything before it ended
    assert ended.returncode in ({code, 0} if "--help" in arguments else {code})


def test_the_version_names_python_and_sqlalchemy(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        cli.main(["--version"])
    python = ".".join(map(str, sys.version_info[:3]))
    assert f"(Python {python}, SQLAlchemy 2." in capsys.readouterr().out


def test_the_parser_is_built_without_reading_the_project_or_importing_shtab(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("not TOML: sqla_typedpool")
    code = "import sys; from sqla_typedpool.cli import build_parser; build_parser()"
    subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit('shtab' in sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=True,
    )
