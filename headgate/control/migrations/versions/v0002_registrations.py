"""Instances that registered, and how often their table was changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "headgate_registrations_state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "headgate_registrations",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("host", sa.String(260), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("scheme", sa.String(8), nullable=False),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("zone", sa.String(100), nullable=False),
        sa.Column("health_check", sa.Text, nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("ttl", sa.Double, nullable=False),
        sa.Column("said", sa.String(16), nullable=False),
        sa.Column("registered_at", sa.Double, nullable=False),
        sa.Column("renewals", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("headgate_registrations_place", "headgate_registrations", ["name", "host", "port"])
