"""The error of an integration whose package is not installed."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True)
class PackagesOf:
    """Make the error of a missing package name the extra that installs it.

    The imports of the package are in its `with` block.
    """

    extra: str

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, ModuleNotFoundError) and error.name is not None:
            raise ModuleNotFoundError(
                f"sqla_typedpool.integrations.{self.extra} needs {error.name}, which is not "
                f'installed; next: pip install "sqla-typedpool[{self.extra}]"',
                name=error.name,
            ) from None
