"""The routes. They need no engine when they are imported: it is that of the application."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from starlette.requests import HTTPConnection

from sqla_typedpool.integrations.fastapi import executor_dependency, session_dependency

from . import queries
from .models import Product


def engine_of(connection: HTTPConnection) -> AsyncEngine:
    engine: AsyncEngine = connection.app.state.engine
    return engine


Session = Annotated[AsyncSession, session_dependency(engine_of)]
Database = Annotated[AsyncConnection, executor_dependency(engine_of)]
router = APIRouter()


class NewProduct(BaseModel):
    name: str
    price: Decimal = Field(gt=0)
    stock: int = Field(ge=0)


class NewOrder(BaseModel):
    product_id: int
    quantity: int = Field(gt=0)


@router.get("/products")
async def offers(db: Database, search: str = "") -> list[queries.Offer]:
    return await queries.offers(db, pattern=f"%{search}%")


@router.post("/products", status_code=201)
async def add(new: NewProduct, session: Session) -> int:
    """The ORM, whose session the route commits."""
    product = Product(**new.model_dump())
    session.add(product)
    try:
        await session.commit()
    except IntegrityError:
        raise HTTPException(409, "a product has this name") from None
    return product.id


@router.post("/orders", status_code=201)
async def order(new: NewOrder, db: Database) -> int:
    """One transaction, which is committed before the response is sent."""
    left = await queries.take(db, product_id=new.product_id, quantity=new.quantity)
    if left is None:
        raise HTTPException(409, "sold out")
    return await queries.place(db, product_id=new.product_id, quantity=new.quantity)


@router.get("/orders.csv")
async def export(request: Request) -> StreamingResponse:
    """A stream, which takes a connection of its own: it is sent when dependencies are closed."""

    async def rows() -> AsyncIterator[str]:
        async with aclosing(queries.lines(engine_of(request))) as found:
            async for line in found:
                yield f"{line.id},{line.name},{line.quantity},{line.placed_at:%Y-%m-%d}\n"

    return StreamingResponse(rows(), media_type="text/csv")


@router.get("/sales")
async def sales(db: Database, seconds: float = 0) -> list[queries.Sale]:
    """A report, which may be slow: many of them at once exhaust the pool."""
    await queries.pause(db, seconds=seconds)
    return await queries.sales(db)
