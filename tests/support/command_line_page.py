"""The page docs/reference/command-line.md, made from the parsers of the command line.

Write it again: `python -m tests.support.command_line_page > docs/reference/command-line.md`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator

from sqla_typedpool import cli

_HEAD = """\
# Command line

`python -m sqla_typedpool` is the same as `sqla-typedpool`. [Checking](../guide/checking.md)
describes how the commands work together, [testing](../guide/testing.md) the pytest plugin. Settings
that are not given here are read from `[tool.sqla_typedpool]` in `pyproject.toml`
([settings](../guide/checking.md#settings)).
"""


def page() -> str:
    """Return the text of the page."""
    parser = cli.build_parser()
    about = (cli.__doc__ or "").split("\n\n", 1)[1].strip()
    parts = [_HEAD, about + "\n", _table("command", _summaries(parser)), *_options(parser)]
    for name, command in _commands(parser).items():
        parts += [f"## {name}\n", *_command(command)]
    return "\n".join(parts)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return dict(_subparsers(parser).choices)


def _subparsers(
    parser: argparse.ArgumentParser,
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    (found,) = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return found


def _summaries(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for each in _subparsers(parser)._choices_actions:
        yield f"[{each.dest}](#{each.dest})", each.help or ""


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the description of a command, and its options."""
    if parser.description:
        yield _plain(parser.description) + "\n"
    yield from _options(parser)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a table of each group of options."""
    for group in parser._action_groups:
        rows = [(_name(each), _meaning(each)) for each in group._group_actions if _is_shown(each)]
        if rows:
            yield _table(_title(group), rows)


def _is_shown(action: argparse.Action) -> bool:
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return action.help != argparse.SUPPRESS and not isinstance(action, hidden)


def _title(group: argparse._ArgumentGroup) -> str:
    return {"positional arguments": "argument", "options": "option"}.get(
        group.title or "", f"option: {group.title}"
    )


def _name(action: argparse.Action) -> str:
    """Return an option with its metavar, as the help of the command shows it."""
    value = action.metavar
    if value is None and action.nargs != 0 and action.choices is None:
        value = action.dest.upper() if action.option_strings else action.dest
    shown = f" {value}" if value else ""
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{each}{shown}`" for each in action.option_strings)


def _meaning(action: argparse.Action) -> str:
    text = _plain(action.help % vars(action)) if action.help else ""
    names = [] if action.choices is None else [*map(str, action.choices)]
    is_listed = all(re.search(rf"\b{each}\b", text) for each in names)
    choices = "" if is_listed else ", ".join(f"`{each}`" for each in names)
    separator = "" if not (choices and text) else " " if text.startswith("(") else ": "
    return f"{choices}{separator}{text}"


def _plain(text: str) -> str:
    """Return a text in one line, with options as code, and characters of Markdown masked."""
    line = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*=?)", r"`\1`", line)


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {name} | {meaning} |" for name, meaning in rows]
    return "\n".join([f"| {title} | meaning |", "|---|---|", *lines, ""])


if __name__ == "__main__":
    sys.stdout.write(page())
