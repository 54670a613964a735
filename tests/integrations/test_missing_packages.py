"""An integration whose package is not installed names the extra that installs it."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

INTEGRATIONS = {
    "fastapi": "fastapi",
    "litestar": "litestar",
    "opentelemetry": "opentelemetry",
    "prometheus": "prometheus_client",
    "starlette": "starlette",
}


@pytest.mark.parametrize("extra", INTEGRATIONS)
def test_the_error_of_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    package, module = INTEGRATIONS[extra], f"sqla_typedpool.integrations.{extra}"
    loaded = [name for name in sys.modules if name.startswith(f"{package}.")]
    for name in (package, *loaded):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ModuleNotFoundError) as caught:
        import_module(module)
    missing = caught.value.name
    assert missing is not None
    assert missing.partition(".")[0] == package
    assert str(caught.value) == (
        f"{module} needs {missing}, which is not installed; "
        f'next: pip install "sqla-typedpool[{extra}]"'
    )
