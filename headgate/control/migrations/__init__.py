"""The tables of the database, version by version; alembic runs env.py, which runs what is missing."""
