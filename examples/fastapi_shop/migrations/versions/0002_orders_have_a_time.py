"""Orders have the time at which they were placed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    placed_at = sa.Column(
        "placed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    )
    op.add_column("orders", placed_at)


def downgrade() -> None:
    op.drop_column("orders", "placed_at")
