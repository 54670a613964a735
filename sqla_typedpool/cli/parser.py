"""The parser of the command line. A wrong word is an error that names the one that was meant."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from sqla_typedpool.cli.exits import COULD_NOT_RUN, DISTRIBUTION, flush_output
from sqla_typedpool.cli.suggestions import choice_hint, command_hint, unknown_option
from sqla_typedpool.secrets import mask_secrets

_WIDEST = 100  # columns of a help text
# What argparse reports about an option, and what is printed instead.
_REWORDED = (
    (re.compile(r"argument (\S+): ignored explicit argument .*", re.DOTALL), r"\1 takes no value"),
    (re.compile(r"argument (\S+): expected one argument"), r"\1 needs a value"),
    (re.compile(r"argument (\S+): "), r"\1: "),
)
_NEGATIVE_NUMBER = re.compile(r"-\.?\d")


class CommandParser(argparse.ArgumentParser):
    """Parses the arguments of the program, or of one of its commands.

    Options are not abbreviated. The help ends with examples.

    :param surplus: the next step if there are too many arguments.
    """

    def __init__(self, *, surplus: str = "", **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_HelpFormatter, **options)
        self.color = False  # Python 3.14 would colour the help by rules of its own
        self._surplus = surplus or f"run `{self.prog} --help`"
        self._commands: Mapping[str, argparse.ArgumentParser] = {}

    def know_commands(self, commands: Mapping[str, argparse.ArgumentParser]) -> None:
        """Receive the parsers of all commands, whose options errors mention."""
        self._commands = commands

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse all arguments; an unknown one ends the process with a usage error."""
        given = sys.argv[1:] if args is None else list(args)
        for option in self._unknown_options(given):
            self.error(self._unknown_option(option))
        found, surplus = super().parse_known_args(given, namespace)
        if surplus:
            shown = surplus[0].partition(": ")[0]  # without the value of a header
            self.error(f"there is an unexpected argument: {shown}; next: {self._surplus}")
        return found, surplus

    def _unknown_options(self, given: Sequence[str]) -> Iterator[str]:
        """Yield the options that do not exist. Those after a command are parsed by its parser."""
        for each in given:
            is_option = each.startswith("-") and each != "-" and not re.search(r"\s", each)
            if each == "--" or (self._subparsers is not None and not is_option):
                return
            name = each.partition("=")[0]
            is_known = name in self._option_string_actions or _NEGATIVE_NUMBER.match(each)
            if is_option and not is_known:
                yield name

    def _unknown_option(self, given: str) -> str:
        name = next((name for name, parser in self._commands.items() if parser is self), "")
        others = {key: _options(each) for key, each in self._commands.items() if key != name}
        return unknown_option(given, _options(self), others, name)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if action.dest == argparse.SUPPRESS:  # the command
            hint = command_hint(value, action.choices, self.prog)
            raise argparse.ArgumentError(None, f"{value or repr(value)} is no command; {hint}")
        name = action.option_strings[0] if action.option_strings else action.metavar
        hint = choice_hint(str(value), map(str, action.choices))
        raise argparse.ArgumentError(None, f"{name} cannot be {value}; {hint}")

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and end the process."""
        for pattern, text in _REWORDED:
            message = pattern.sub(text, message)
        if "; next: " not in message and "did you mean" not in message:
            message = f"{message}; next: run `{self.prog} --help`"
        self.print_usage(sys.stderr)
        self.exit(COULD_NOT_RUN, f"{DISTRIBUTION}: {mask_secrets(message)}\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process.

        :raises BrokenPipeError: standard output is a pipe that has been closed.
        """
        flush_output()
        super().exit(status, message)


def _options(parser: argparse.ArgumentParser) -> Collection[str]:
    return parser._option_string_actions


class _HelpFormatter(argparse.HelpFormatter):
    """Keeps paragraphs, and the lines of examples, which are indented."""

    def __init__(self, prog: str, **options: Any) -> None:
        columns = shutil.get_terminal_size().columns - 2
        super().__init__(prog, **{"width": min(columns, _WIDEST), **options})

    def add_argument(self, action: argparse.Action) -> None:
        """Add an argument. Unlike argparse, give commands, which are indented, enough room."""
        super().add_argument(action)
        for each in self._iter_indented_subactions(action):
            length = len(self._format_action_invocation(each)) + self._current_indent
            self._action_max_length = max(self._action_max_length, length)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(self._paragraph(each, width, indent) for each in paragraphs)

    def _paragraph(self, text: str, width: int, indent: str) -> str:
        if text.startswith("  "):
            return text
        return super()._fill_text(text, width, indent)
