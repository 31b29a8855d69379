"""The tables of keys, version by version; alembic runs env.py, which runs what is missing."""
