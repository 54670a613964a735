"""The codes of findings: looked up, explained, and made into findings and documentation."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Mapping

from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.check.rule_docs import EXPLANATIONS, Rule
from sqla_typedpool.errors import CannotRun

CODES: Mapping[str, Rule] = {each.code: each for each in EXPLANATIONS}
"""Every code there is, in order."""

_GROUPS = {
    "TP0": "Declarations",
    "TP1": "Columns",
    "TP2": "Parameters",
    "TP3": "Statements",
    "TP4": "Snapshots",
}


def finding(
    code: str,
    message: str,
    place: Location | None,
    *,
    query: str | None = None,
    severity: Severity | None = None,
    reason: str = "",
    hint: str = "",
    subject: str = "",
    details: Mapping[str, str] | None = None,
) -> Finding:
    """A finding of a known code.

    :param severity: None = the code's usual one.
    """
    usual = CODES[code].severities
    if severity is not None and severity not in usual:
        raise ValueError(f"{code} is never a {severity.value}")
    chosen = severity or usual[0]
    facts = dict(details or {})
    return Finding(code, chosen, message, place, query, reason, hint, subject, facts)


def code_of(written: str) -> Rule:
    """A code as people type it.

    :raises CannotRun: there is no such code; with the nearest ones.
    """
    known = CODES.get(written.strip().upper())
    if known is None:
        raise CannotRun(unknown_code(written))
    return known


def unknown_code(written: str) -> str:
    """What to say of a code that does not exist."""
    near = difflib.get_close_matches(written.strip().upper(), CODES, n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {_span()}"
    return f'no finding has the code "{written}"; {hint}'


def _span() -> str:
    groups = {code[:3]: code for code in CODES}
    return ", ".join(f"{group}01-{last}" for group, last in groups.items())


def explain(code: str) -> str:
    """A code, explained for a terminal.

    :raises CannotRun: there is no such code.

    Example::

        print(explain("TP101"))
    """
    known = code_of(code)
    parts = [f"{known.code}: {known.title} ({_severities(known)})", _wrapped(known.why)]
    if known.wrong:
        parts += [f"Wrong:\n\n{_indented(known.wrong)}", f"Right:\n\n{_indented(known.right)}"]
    parts.append(_silenced(known.code))
    return "\n\n".join(parts)


def _severities(code: Rule) -> str:
    return " or ".join(each.value for each in code.severities)


def _wrapped(words: str) -> str:
    return textwrap.fill(words, 88, break_long_words=False, break_on_hyphens=False)


def _indented(example: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in example.splitlines())


def _silenced(code: str) -> str:
    return f"Silenced for one query by `# typedpool: ignore[{code}]` on the decorator's line."


# ---------------------------------------------------------------- documentation


def page() -> str:
    """docs/reference/findings.md."""
    parts = [_HEAD, _overview()]
    for group, title in _GROUPS.items():
        parts.append(f"## {title}")
        parts += [_section(each) for code, each in CODES.items() if code.startswith(group)]
    parts.append(_JSON)
    return "\n\n".join(parts) + "\n"


_HEAD = """\
# Findings
<!-- written from sqla_typedpool/check/rules.py: print(page(), end="") -->

What `sqla-typedpool check` can say, by code. Codes are stable. `sqla-typedpool check --explain TP101` prints the same in a terminal.

An **error** fails when the query runs, or may; a **warning** is a trap for later; both make the exit code 1. A **note** is worth a look and changes no exit code (but for `--strict`).

Silence one finding where it stands, with the reason beside it: `# typedpool: ignore[TP101]` on the line of the decorator, on the last line of its call, or on the line the finding points at; in SQL `-- typedpool: ignore[TP101]`. Several codes are separated by commas, `TP1` or `TP1xx` stands for a
group, and a bare `ignore` for everything. A comment that silences nothing is itself a finding (TP001). `--select` and `--ignore` choose for a whole run; the longer prefix wins."""  # noqa: E501


_JSON = """\
## As JSON
`--format json` prints one object. Keys are only ever added; a change of meaning changes `version`.

| key | |
|---|---|
| `version` | 1 |
| `clean` | whether there is no error and no warning |
| `queries`, `source`, `seconds` | how many were checked, against what, in which time |
| `counts` | how many findings of each severity: `error`, `warning`, `note` |
| `findings` | by file, line and column |

Of each finding:

| key | |
|---|---|
| `code`, `severity`, `title` | as in the table above |
| `message`, `reason`, `hint` | what is wrong; why the database says so; the next step. The last two may be "" |
| `query` | `app.users.get_user`, or null |
| `subject` | the column or parameter it is about, or "" |
| `file`, `line`, `column`, `length` | from 1, in characters, `file` relative to the working directory; null where it is not known |
| `details` | further facts as texts: `type` and `declared`, `origin`, `sqlstate`; `sql` as it was sent, with `offset` and `length` of what is meant |"""  # noqa: E501


def _overview() -> str:
    rows = [
        f"| [{each.code}](#{each.code.lower()}) | {each.title} | {_severities(each)} |"
        for each in CODES.values()
    ]
    return "\n".join(["| code | | severity |", "|---|---|---|", *rows])


def _section(code: Rule) -> str:
    title = f"{code.title[0].upper()}{code.title[1:]}"
    parts = [f"### {code.code}", f"**{title}** ({_severities(code)}). {code.why}"]
    if code.wrong:
        parts += [f"Wrong:\n{_block(code.wrong)}", f"Right:\n{_block(code.right)}"]
    return "\n\n".join(parts)


def _block(example: str) -> str:
    return f"```python\n{example}\n```"
