"""Shaping: which limits are in force for mail to a destination, and who says so."""
