"""What was probably meant by a word of the command line that is not known."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

# Words that other programs take as commands.
_OPTIONS_FOR_COMMANDS = {"help": "--help", "version": "--version"}
_SQL = re.compile(r"\s*(select|insert|update|delete|with|merge|values)\b", re.IGNORECASE)
_CODE = re.compile(r"TP\d{1,3}", re.IGNORECASE)


def choice_hint(given: str, choices: Iterable[str]) -> str:
    """Return the similar choice as a question, or all choices as the next step."""
    known = list(choices)
    lower = {each.lower(): each for each in known}
    near = get_close_matches(given.lower(), lower, n=1)
    return f"did you mean {lower[near[0]]}?" if near else f"next: use one of {', '.join(known)}"


def command_hint(given: str, commands: Iterable[str], program: str) -> str:
    """Return the similar command, or the command for a module, a URL, a statement or a code."""
    if given in _OPTIONS_FOR_COMMANDS:
        return f"next: run `{program} {_OPTIONS_FOR_COMMANDS[given]}`"
    if is_module_here(given):
        return f"did you mean `{program} check {given}`?"
    if given.startswith(("http://", "https://")):
        return f"did you mean `{program} top {given}`?"
    if _SQL.match(given):
        return f'did you mean `{program} describe "SELECT ..."`?'
    if _CODE.fullmatch(given):
        return f"did you mean `{program} check --explain {given}`?"
    return choice_hint(given, commands)


def is_module_here(given: str) -> bool:
    """Return whether the working directory has a module, a package, a folder or a file so named."""
    path = Path(given.replace(".", "/"))
    return Path(given).is_dir() or path.is_dir() or given.endswith(".py") or _is_file(given, path)


def _is_file(given: str, path: Path) -> bool:
    return bool(path.name) and given[:1] != "-" and path.with_suffix(".py").is_file()


def similar_option(given: str, known: Collection[str]) -> str | None:
    """Return the option that was probably meant.

    It is spelt alike, begins with what was given (`--off`, `-q`), or contains or lacks whole
    words of it (`--url`, `--output-format`).
    """
    if near := get_close_matches(given, known, n=1, cutoff=0.75):
        return near[0]
    begin = given if given.startswith("--") else f"-{given.lower()}"
    words = set(given.strip("-").split("-"))
    candidates = (
        [each for each in known if each.startswith(begin)],
        [each for each in known if _shares_words(words, each)],
        get_close_matches(given, known, n=1),
    )
    return next((found[0] for found in candidates if len(found) == 1), None)


def _shares_words(words: set[str], option: str) -> bool:
    others = set(option.strip("-").split("-"))
    return words <= others or others <= words


def unknown_option(
    given: str, own: Collection[str], others: Mapping[str, Collection[str]], command: str
) -> str:
    """Return the message for an option that a command does not have.

    :param own: the options of the command.
    :param others: the options of each other command.
    :param command: the name of the command; empty before a command.
    """
    if command and given == "--version":
        return f"{given} must precede the command; next: run `sqla-typedpool {given}`"
    having = [name for name, options in others.items() if given in options]
    if having and command:
        names = " and ".join(having)
        return f"{given} is an option of {names}, not of {command}; next: remove it"
    if having:
        return f"{given} must follow the command; next: write it after {' or '.join(having)}"
    near = similar_option(given, own)
    return f"there is no option {given}" + (f"; did you mean {near}?" if near else "")
