"""The tables. SQLAlchemy creates them; the queries are written by hand."""

from enum import Enum

from sqlalchemy import (
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy import Enum as EnumType
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()


class Status(str, Enum):
    """The state of an order."""

    OPEN = "open"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


customers = Table(
    "customers",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("phone", Text),
)

authors = Table(
    "authors",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("born", Date),
)

books = Table(
    "books",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("title", Text, nullable=False),
    Column("author_id", ForeignKey("authors.id")),  # NULL if the author is unknown
    Column("price", Numeric(8, 2), nullable=False),
    Column("stock", Integer, CheckConstraint("stock >= 0"), nullable=False),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("customer_id", ForeignKey("customers.id"), nullable=False),
    Column(
        "status",
        EnumType(Status, name="order_status", values_callable=lambda kind: [m.value for m in kind]),
        nullable=False,
        server_default=Status.OPEN.value,
    ),
    Column("address", JSONB, nullable=False),
    Column("placed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("shipped_at", DateTime(timezone=True)),
)

order_lines = Table(
    "order_lines",
    metadata,
    Column("order_id", ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True),
    Column("book_id", ForeignKey("books.id"), primary_key=True),
    Column("quantity", Integer, nullable=False),
    Column("price", Numeric(8, 2), nullable=False),  # of one copy, when it was ordered
)
