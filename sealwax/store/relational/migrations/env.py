"""Alembic's entry: runs on the connection and in the transaction of sealwax's own start."""

from alembic import context

from sealwax.store.relational.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
