"""What was probably meant by a word of the command line that is not known."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

# Words that other programs take as commands.
_OPTIONS_FOR_COMMANDS = {"help": "--help", "version": "--version"}
# One letter does not tell which option was meant: only those that mean the same everywhere.
_SHORT_OPTIONS = {"q": "--quiet", "v": "--version"}
_SHORTEST = 3  # letters that begin one option only
_ALIKE = 0.75
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
    if given and is_module_here(given):
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


def similar_option(given: str, known: Iterable[str]) -> str | None:
    """Return the option that was probably meant.

    It is spelt alike, begins with what was given (`--off`), or contains or lacks whole words of
    it (`--url`, `--output-format`). The opposite of what was given (`--no-write`) was not meant.
    """
    name = _name_of(given)
    if name in _SHORT_OPTIONS:
        return next((each for each in known if each == _SHORT_OPTIONS[name]), None)
    names = {_name_of(each): each for each in known if _is_negated(each) or not _is_negated(given)}
    if near := get_close_matches(name, names, n=1, cutoff=_ALIKE):
        return names[near[0]]
    begun = [each for each in names if each.startswith(name)]
    sharing = [each for each in names if _shares_words(name, each)]
    found = begun if len(begun) == 1 else sharing
    return names[found[0]] if len(found) == 1 and len(name) >= _SHORTEST else None


def _name_of(option: str) -> str:
    return option.strip("-").replace("_", "-").lower()


def _is_negated(option: str) -> bool:
    return _name_of(option).startswith("no")


def _shares_words(one: str, other: str) -> bool:
    words, others = set(one.split("-")), set(other.split("-"))
    return words <= others or others <= words


def joined(names: Iterable[str], word: str) -> str:
    """Return names as a sentence has them, such as ``a, b or c``."""
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last


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
        names = joined(having, "and")
        return f"{given} is an option of {names}, not of {command}; next: remove it"
    if having:
        return f"{given} must follow the command; next: write it after {joined(having, 'or')}"
    near = similar_option(given, own)
    return f"there is no option {given}" + (f"; did you mean {near}?" if near else "")
