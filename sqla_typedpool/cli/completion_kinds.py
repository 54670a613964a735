"""What a shell completes in place of an argument. `shtab` reads it, but is not imported here."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final, TypeAlias

from sqla_typedpool.check.rules import RULES

# By shell: a function of bash, or an expression of the other shells.
Kind: TypeAlias = Mapping[str, str]

_CODES: Final = " ".join(RULES)
_FISH_PATHS: Final = "(__fish_complete_path (commandline -ct))"

FILES: Final[Kind] = {
    "bash": "_shtab_compgen_files",
    "zsh": "_files",
    "tcsh": "f",
    "fish": _FISH_PATHS,
}
FOLDERS: Final[Kind] = {
    "bash": "_shtab_compgen_dirs",
    "zsh": "_files -/",
    "tcsh": "d",
    "fish": "(__fish_complete_directories)",
}
MODULES: Final[Kind] = {
    "bash": "_sqla_typedpool_module_files",
    "zsh": "_files -g '(*.py)'",
    "tcsh": "f",
    "fish": _FISH_PATHS,
}
CODES: Final[Kind] = {
    "bash": "_sqla_typedpool_codes",
    "zsh": f"({_CODES})",
    "tcsh": f"({_CODES})",
    "fish": _CODES,
}

# The functions above. A module is completed by its name (app.users) and by its path (app/users.py).
# The shell option `filenames`, which shtab sets for functions with "file" in their name, adds the
# slash to a folder.
BASH_FUNCTIONS: Final = f"""
_sqla_typedpool_codes() {{
  compgen -W "{_CODES}" -- "$1"
}}

_sqla_typedpool_module_files() {{
  local each path="${{1//.//}}"
  compgen -d -- "$1"
  compgen -f -X '!*.py' -- "$1"
  [[ "$1" == */* || "$1" != *.* ]] && return
  for each in $(compgen -d -- "$path") $(compgen -f -X '!*.py' -- "$path"); do
    [[ "$each" == *.py ]] || compgen -G "$each/*.py" > /dev/null || continue
    each="${{each%.py}}"
    [[ "$each" == *__ ]] || echo "${{each//\\//.}}"
  done
}}
"""


def completed(action: argparse.Action, kind: Kind) -> None:
    """Let shells complete the value of an option or argument.

    :param action: what ``add_argument`` has returned.
    """
    action.complete = kind  # type: ignore[attr-defined]
