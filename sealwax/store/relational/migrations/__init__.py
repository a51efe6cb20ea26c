"""Alembic migrations; open_store runs them. A new one also moves HEAD in migrate.py."""
