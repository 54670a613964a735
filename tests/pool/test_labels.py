"""`holder_label`: what an application calls the work that holds a connection."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Any

import pytest
from sqlalchemy import event

from sqla_typedpool import Holder, PoolTimeout, TypedPool, holder_label
from sqla_typedpool.pool.labels import current_label
from tests.support.fake_driver import (
    Connect,
    Server,
    borrow,
    borrowed,
    give_back,
    loop_pool,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import run


def labels(pool: Any) -> list[str | None]:
    return [holder.label for holder in pool.holders()]


# ------------------------------------------------------------------------------- the checkout


def test_a_holder_has_the_label_of_the_block_around_its_checkout() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(seconds=1)), pool_size=1, max_overflow=0)
        for _ in range(2):  # it waits for the connect; it takes the idle connection
            with holder_label("GET /reports"):
                fairy = await borrow(pool)
            assert labels(pool) == ["GET /reports"]
            assert str(pool.holders()[0]).startswith("GET /reports (Task-")
            await give_back(fairy)
        async with borrowed(pool):
            assert labels(pool) == [None]

    run(main())


def test_a_waiter_that_gets_a_returned_connection_has_its_own_label() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        with holder_label("first"):
            first = asyncio.ensure_future(use(pool, 5))
        await asyncio.sleep(1)
        with holder_label("second"):
            second = asyncio.ensure_future(use(pool, 5))
        await asyncio.sleep(1)
        assert labels(pool) == ["first"]
        await asyncio.sleep(5)
        assert labels(pool) == ["second"]
        await asyncio.gather(first, second)

    run(main())


@pytest.mark.parametrize("with_timeout", [False, True])
def test_a_statement_of_an_engine_or_session_has_the_label(with_timeout: bool) -> None:
    from sqla_typedpool import execute

    async def main() -> None:
        server = Server()
        engine = new_engine(server, pool_size=1, max_overflow=0)
        pool = TypedPool.of(engine)
        await open_idle(pool, 1)
        server.connections[0].slow["execute"] = 10
        with holder_label("GET /reports"):
            timeout = 60 if with_timeout else None
            task = asyncio.create_task(execute(engine, "DELETE FROM t", timeout=timeout))
        await asyncio.sleep(1)
        assert labels(pool) == ["GET /reports"]
        await task

    run(main())


def test_warm_and_the_tasks_of_the_pool_have_no_label_of_a_request() -> None:
    async def main() -> None:
        seen = []
        pool = new_pool(Server(), pool_min_size=2)

        @event.listens_for(pool, "connect")
        def note(*_: Any) -> None:
            seen.append(current_label())

        with holder_label("GET /reports"):
            await use(pool)
            await asyncio.sleep(60)
        assert seen == [None, None]

    run(main())


def test_an_entry_keeps_no_label_after_its_return() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        with holder_label("GET /reports"):
            await use(pool)
            await use(pool)
            (entry,) = loop_pool(pool).entries
            assert entry.label is None
            fairy = await borrow(pool)
            assert entry.label == "GET /reports"
            fairy.detach()
            await asyncio.sleep(1)
            assert entry.label is None

    run(main())


def test_the_label_keeps_nothing_of_a_request_alive() -> None:
    class Text(str):  # noqa: SLOT000
        """A text that keeps something else alive."""

    class Request:
        pass

    async def handle(pool: Any) -> Any:
        request = Request()
        text = Text("GET /reports")
        text.request = request  # type: ignore[attr-defined]
        with holder_label(text):
            return await borrow(pool)

    async def main() -> None:
        pool = new_pool(Server())
        fairy = await asyncio.create_task(handle(pool))
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Request)]
        (label,) = labels(pool)
        assert type(label) is str
        await give_back(fairy)

    run(main())


# --------------------------------------------------------------------------------- the reports


def test_errors_and_log_records_show_the_label(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=1, pool_leak_threshold=5)
        with holder_label("GET /reports"):
            fairy = await borrow(pool)
        with pytest.raises(PoolTimeout, match=r"GET /reports \(Task-") as raised:
            await borrow(pool)
        assert raised.value.holders[0].label == "GET /reports"
        await asyncio.sleep(10)
        await give_back(fairy)
        with holder_label("POST /orders"):
            fairy = await borrow(pool)
        await pool.close(1)

    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        run(main())
    nested, deadlock, leak, returned, closed = [each.getMessage() for each in caplog.records]
    assert "GET /reports (Task-" in nested
    assert "GET /reports (Task-" in deadlock
    assert "GET /reports (Task-" in leak
    assert "GET /reports (Task-" in returned
    assert "POST /orders (Task-" in closed


@pytest.mark.parametrize(
    ("holder", "text"),
    [
        (Holder("Task-1", 3.25, None), "Task-1 for 3.2 s"),
        (Holder("Task-1", 3, "a.py:1 in f"), "Task-1 for 3.0 s at a.py:1 in f"),
        (Holder("Task-1", 3, None, "GET /"), "GET / (Task-1) for 3.0 s"),
        (Holder("Task-1", 3, None, None, "a.q"), "Task-1 for 3.0 s in query a.q"),
        (
            Holder("Task-1", 3, "a.py:1 in f", "GET /", "a.q"),
            "GET / (Task-1) for 3.0 s in query a.q at a.py:1 in f",
        ),
    ],
)
def test_a_holder_reads_well_with_and_without_each_part(holder: Holder, text: str) -> None:
    assert str(holder) == text


# ---------------------------------------------------------------------------------- the blocks


def test_the_inner_label_applies_and_the_outer_one_returns() -> None:
    assert current_label() is None
    with holder_label("outer"):
        with holder_label("inner"):
            assert current_label() == "inner"
            with holder_label(""):
                assert current_label() is None
        assert current_label() == "outer"
    assert current_label() is None


def test_the_label_ends_with_the_block_also_after_an_error() -> None:
    with pytest.raises(LookupError):
        with holder_label("GET /"):
            raise LookupError
    assert current_label() is None


def test_tasks_started_inside_a_block_inherit_its_label() -> None:
    async def main() -> None:
        with holder_label("outer"):
            task = asyncio.ensure_future(label_of_task())
            with holder_label("inner"):
                inner = asyncio.ensure_future(label_of_task())
        assert (await task, await inner) == ("outer", "inner")
        assert await asyncio.ensure_future(label_of_task()) is None

    async def label_of_task() -> str | None:
        await asyncio.sleep(1)
        return current_label()

    run(main())


def test_one_block_may_be_used_in_several_tasks_at_once_and_in_itself() -> None:
    block = holder_label("shared")

    async def work(seconds: float) -> None:
        with holder_label(str(seconds)):
            with block:
                with block:
                    await asyncio.sleep(seconds)
                    assert current_label() == "shared"
                await asyncio.sleep(seconds)
                assert current_label() == "shared"
            assert current_label() == str(seconds)
        assert current_label() is None

    async def main() -> None:
        await asyncio.gather(*(work(seconds) for seconds in (3, 1, 2)))

    run(main())


def test_a_block_that_is_left_in_another_context_leaves_the_label_there() -> None:
    """A generator that another task closes, as test fixtures and garbage collection do."""

    async def labelled() -> AsyncIterator[None]:
        with holder_label("of the generator"):
            yield

    async def enter(generator: Any) -> None:
        await generator.__anext__()

    async def main() -> None:
        generator = labelled()
        await asyncio.create_task(enter(generator))
        with holder_label("of the task"):
            await generator.aclose()  # type: ignore[attr-defined]
            assert current_label() == "of the task"
        assert current_label() is None

    run(main())


def test_a_thread_of_the_application_inherits_the_label() -> None:
    async def main() -> None:
        with holder_label("GET /"):
            assert await asyncio.to_thread(current_label) == "GET /"

    asyncio.run(main())


# ---------------------------------------------------------------------------------- the label


class Route(str, Enum):
    REPORTS = "GET /reports"


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ("GET /reports", "GET /reports"),
        ("GET /a\nERROR: forged", "GET /a ERROR: forged"),
        ("a\r\n\t b\x00\x1b[31m\u2028c", "a b [31m c"),
        ("  ", None),
        ("", None),
        ("é" * 100, "é" * 100),
        ("x" * 101, "x" * 97 + "..."),
        ("x" * 10_000_000, "x" * 97 + "..."),
        ("\ud800", None),
        (Route.REPORTS, "GET /reports"),
    ],
)
def test_a_label_is_one_line_of_limited_length(given: str, label: str | None) -> None:
    with holder_label(given):
        found = current_label()
    assert found == label
    assert found is None or type(found) is str


@pytest.mark.parametrize("given", [None, 7, b"GET /", ["GET /"]])
def test_a_label_that_is_no_text_is_an_error(given: Any) -> None:
    with pytest.raises(TypeError, match=r"holder_label=.* is not a str; next: pass a text"):
        holder_label(given)


def test_a_label_is_no_decorator() -> None:
    """On an ``async def`` it would end before the function begins."""

    def function() -> None: ...

    decorate: Callable[[Any], Any] = holder_label("GET /")  # type: ignore[assignment]
    with pytest.raises(TypeError, match="not callable"):
        decorate(function)


def test_a_new_context_has_no_label() -> None:
    with holder_label("GET /"):
        assert contextvars.Context().run(current_label) is None
