"""Turns on SQLAlchemy's own pytest plugin for the dialect suite beside this file."""

import pytest

pytest.register_assert_rewrite("sqlalchemy.testing.assertions")

from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402, F403
