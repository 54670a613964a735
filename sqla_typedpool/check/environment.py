"""The Python environment in which the command runs: that of the project, or another one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# pre-commit installs a hook with `language: python` into a folder with this name.
_HOOK_ENVIRONMENT = "py_env-"


def is_of_a_hook() -> bool:
    """Return whether pre-commit has created the environment for the hook.

    It has no packages of the project then. With `language: system` a hook runs in the environment
    of the project.
    """
    return "PRE_COMMIT" in os.environ and Path(sys.prefix).name.startswith(_HOOK_ENVIRONMENT)


def install_hint(package: str, otherwise: str) -> str:
    """Return how to install a package that is missing, as an imperative sentence.

    :param package: its name, or a description of it.
    :param otherwise: what to do if the environment is not that of a hook.
    """
    if is_of_a_hook():
        return (
            f"add {package} to additional_dependencies of the hook in .pre-commit-config.yaml, or"
            " run the hook in the environment of the project (language: system)"
        )
    return otherwise
