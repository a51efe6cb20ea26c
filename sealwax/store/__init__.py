"""Adapters of the stores."""
