"""All tests of the checker check the words of their findings."""

from __future__ import annotations

from tests.support.words import checked_words

__all__ = ["checked_words"]
