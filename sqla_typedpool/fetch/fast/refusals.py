"""The reason for which a call takes the slow path."""

from __future__ import annotations


class NeedsSlowPath(Exception):
    """Only SQLAlchemy can run this statement here. It has not been run.

    The message is the reason, for the log.
    """
