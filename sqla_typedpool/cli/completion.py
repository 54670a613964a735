"""`sqla-typedpool completion`."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any, Final

from sqla_typedpool.cli.completion_kinds import BASH_FUNCTIONS
from sqla_typedpool.cli.exits import OK
from sqla_typedpool.cli.options import Commands, add_command
from sqla_typedpool.errors import CannotRun

_SHELLS: Final = ("bash", "zsh", "fish", "tcsh")
_EXAMPLES: Final = ("bash > ~/.local/share/bash-completion/completions/sqla-typedpool",)


def add(commands: Commands, program: argparse.ArgumentParser) -> None:
    """Add the subcommand `completion`.

    :param program: the parser of the whole command line.
    """
    summary = "print the script with which a shell completes this command"
    parser = add_command(commands, "completion", summary, _completion, "SHELL", _EXAMPLES)
    parser.add_argument(
        "shell", metavar="SHELL", choices=_SHELLS, help=f"one of {', '.join(_SHELLS)}"
    )
    parser.set_defaults(program=program)


def _completion(arguments: argparse.Namespace) -> int:
    """Print the script with which a shell completes commands, options, values, files and modules.

    It needs the extra `cli`. Write the script to a file that the shell reads at its start, and
    write it again after an update.
    """
    print(script(arguments.shell, arguments.program))
    return OK


def script(shell: str, program: argparse.ArgumentParser) -> str:
    """Return the script for a shell.

    :param program: the parser of the whole command line.
    :raises CannotRun: the package shtab is missing.
    """
    try:
        shtab: Any = import_module("shtab")
    except ImportError:
        raise CannotRun(
            "completion needs the package shtab, which is not installed; next: pip install"
            ' "sqla-typedpool[cli]"'
        ) from None
    text: str = shtab.complete(program, shell, preamble={"bash": BASH_FUNCTIONS})
    return text
