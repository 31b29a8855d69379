"""Run by alembic, inside the transaction that `database.migrate` has begun and locked."""

from __future__ import annotations

from alembic import context

from headgate.control.database import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
