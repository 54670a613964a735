"""What docs/guide/pool.md tells about context variables, engines made from a URL, and pings."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from sqla_typedpool import TypedPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

tenant: ContextVar[str] = ContextVar("tenant", default="no tenant")

aiosqlite = pytest.importorskip("aiosqlite")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'file.db'}"


async def request(engine: AsyncEngine, name: str) -> None:
    """A request of a tenant, in a task of its own."""
    tenant.set(name)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


def tenants_seen_in(engine: AsyncEngine, *events: str) -> dict[str, str]:
    """Run one request; return the tenant that the listeners to these events see."""
    seen: dict[str, str] = {}

    def listener(name: str) -> Callable[..., None]:
        def listen(*_: Any) -> None:
            seen[name] = tenant.get()

        return listen

    for name in events:
        event.listen(engine.sync_engine, name, listener(name))

    async def main() -> None:
        await asyncio.create_task(request(engine, "acme"))
        await engine.dispose()

    asyncio.run(main())
    return seen


def test_context_variables_of_a_request_are_not_set_while_a_connection_is_opened(url: str) -> None:
    engine = create_async_engine(url, poolclass=TypedPool)
    seen = tenants_seen_in(engine, "do_connect", "connect", "first_connect")
    assert seen == dict.fromkeys(("do_connect", "connect", "first_connect"), "no tenant")


def test_with_the_stock_pool_context_variables_are_set_while_a_connection_is_opened(
    url: str,
) -> None:
    engine = create_async_engine(url, poolclass=AsyncAdaptedQueuePool)
    seen = tenants_seen_in(engine, "do_connect", "connect")
    assert seen == dict.fromkeys(("do_connect", "connect"), "acme")


def test_context_variables_of_a_request_are_not_set_in_an_async_creator(url: str) -> None:
    seen: list[str] = []

    async def creator() -> Any:
        seen.append(tenant.get())
        return await aiosqlite.connect(url.partition("///")[2])

    engine = create_async_engine(url, poolclass=TypedPool, async_creator=creator)
    tenants_seen_in(engine)
    assert seen == ["no tenant"]


def test_context_variables_of_a_request_are_set_where_it_uses_its_connection(url: str) -> None:
    engine = create_async_engine(url, poolclass=TypedPool)
    events = ("checkout", "begin", "before_cursor_execute", "reset", "checkin")
    assert tenants_seen_in(engine, *events) == dict.fromkeys(events, "acme")


@pytest.mark.parametrize("spelling", ["in the URL", "as a plugin", "as the pool class"])
def test_an_engine_made_from_the_url_of_another_engine_has_the_stock_pool(
    url: str, spelling: str
) -> None:
    if spelling == "in the URL":
        engine = create_async_engine(f"{url}?plugin=typedpool&pool_min_size=2")
    elif spelling == "as a plugin":
        engine = create_async_engine(f"{url}?pool_min_size=2", plugins=["typedpool"])
    else:
        engine = create_async_engine(url, poolclass=TypedPool.configured(pool_min_size=2))
    assert TypedPool.of(engine).options.pool_min_size == 2
    assert not engine.url.query
    other = create_async_engine(engine.url)
    assert type(other.pool) is AsyncAdaptedQueuePool
    with pytest.raises(TypeError, match="poolclass=TypedPool"):
        TypedPool.of(other)
    third = create_async_engine(engine.url, plugins=["typedpool"])
    assert TypedPool.of(third).options.pool_min_size == 0
    fourth = create_async_engine(engine.url, poolclass=type(TypedPool.of(engine)))
    assert isinstance(fourth.pool, TypedPool)


def test_pre_ping_changes_no_option(url: str) -> None:
    plain = create_async_engine(url, poolclass=TypedPool)
    pinging = create_async_engine(url, poolclass=TypedPool, pool_pre_ping=True)
    assert TypedPool.of(pinging).options == TypedPool.of(plain).options
