"""Claims: what must be done once."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Creates the table of claims."""
    op.create_table(
        "claims",
        sa.Column("claim", sa.String(310), nullable=False),
        sa.Column("payload_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("email_ids", sa.Text(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("source", sa.String(300), nullable=True),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("claimed_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("claim", name="pk_claims"),
    )
    op.create_index("ix_claims_expires_at_ms", "claims", ["expires_at_ms"])
