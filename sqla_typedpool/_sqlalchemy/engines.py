"""Engines that share a pool."""

from __future__ import annotations

from sqlalchemy.engine import Engine
from sqlalchemy.engine.base import OptionEngine


def root_engine(engine: Engine) -> Engine:
    """Return the engine itself, or the one on which ``execution_options()`` was called."""
    while isinstance(engine, OptionEngine):
        engine = engine._proxied
    return engine
