"""The documentation of the rules: ``check --explain``, and the page docs/reference/findings.md.

The text is in ``findings.md`` beside this file. The titles and severities of the rules are
inserted into it.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from sqla_typedpool.check.rules import RULES, Rule, rule_of

_SECTION = re.compile(r"^### (TP\d+)\n\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_CODE_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
_WIDTH = 88


def explain(code: str) -> str:
    """Return the explanation of a rule as text for a terminal.

    :raises CannotRun: there is no such rule.

    Example::

        print(explain("TP101"))
    """
    rule = rule_of(code)
    parts = [f"{rule.code}: {rule.title} ({_severities(rule)})"]
    for index, part in enumerate(_CODE_BLOCK.split(sections()[rule.code])):
        if index % 2:
            parts.append(textwrap.indent(part.rstrip(), "    "))
        else:
            parts += [_wrapped(each) for each in part.strip().split("\n\n") if each]
    return "\n\n".join(parts)


def sections() -> dict[str, str]:
    """Return the explanations of all rules by their codes, in Markdown."""
    return dict(_SECTION.findall(_text()))


def page() -> str:
    """Return the text of docs/reference/findings.md."""
    return _SECTION.sub(_with_title, _text().replace("{table}", _table()))


def _text() -> str:
    return Path(__file__).with_name("findings.md").read_text(encoding="utf-8")


def _with_title(section: re.Match[str]) -> str:
    code, text = section.groups()
    title = RULES[code].title
    return f"### {code}\n\n**{title[0].upper()}{title[1:]}** ({_severities(RULES[code])}). {text}"


def _table() -> str:
    rows = [
        f"| [{rule.code}](#{rule.code.lower()}) | {rule.title} | {_severities(rule)} |"
        for rule in RULES.values()
    ]
    return "\n".join(["| code | finding | severity |", "|---|---|---|", *rows])


def _severities(rule: Rule) -> str:
    return " or ".join(each.value for each in rule.severities)


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False)
