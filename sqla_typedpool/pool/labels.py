"""``holder_label``: what an application calls the work that holds a connection."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar

_MAX_LENGTH = 100  # characters

_label: ContextVar[str | None] = ContextVar("holder_label", default=None)
# The open blocks of a context, outermost first, each with the label that was in force before it.
# They are in the context, not in the block: one block may be used in several tasks at once.
_blocks: ContextVar[tuple[tuple[_Block, str | None], ...]] = ContextVar("blocks", default=())

# The label in force; None = there is none. A checkout calls it once.
current_label = _label.get


def holder_label(label: str) -> AbstractContextManager[None]:
    """Name the work inside a ``with`` block in the reports of the pool.

    A connection that is checked out inside the block, or in a task started inside it, has
    this label in ``holders()``, ``PoolTimeout`` and the pool's log. The innermost block
    applies. Without a label a report shows the name of the task only.

    :param label: what an engineer recognises, such as the route of a request. It should not
        contain personal data. White space and control characters become single spaces, and
        text beyond 100 characters is cut, so that the label may be made of a request's path.
        "" = no label.
    :raises TypeError: the label is not a ``str``.

    Example::

        @app.middleware("http")
        async def label_connections(request, call_next):
            with holder_label(f"{request.method} {request.url.path}"):
                return await call_next(request)
    """
    return _Block(label)


class _Block(AbstractContextManager[None]):
    """One ``holder_label(...)``."""

    def __init__(self, label: str) -> None:
        if not isinstance(label, str):
            raise TypeError(
                f"holder_label={label!r} is not a str; next: pass a text, such as 'GET /reports'"
            )
        self._label = _one_line(label) or None

    def __enter__(self) -> None:
        _blocks.set((*_blocks.get(), (self, _label.get())))
        _label.set(self._label)

    def __exit__(self, *error: object) -> None:
        blocks = _blocks.get()
        # A generator that is closed elsewhere leaves its block in another context: the label of
        # that context is not this block's.
        if blocks and blocks[-1][0] is self:
            _label.set(blocks[-1][1])
            _blocks.set(blocks[:-1])


def _one_line(text: str) -> str:
    """The text on one line and of limited length, as an exact ``str``."""
    printable = "".join([each if each.isprintable() else " " for each in text[: 2 * _MAX_LENGTH]])
    line = " ".join(printable.split())
    return line if len(line) <= _MAX_LENGTH else line[: _MAX_LENGTH - 3] + "..."
