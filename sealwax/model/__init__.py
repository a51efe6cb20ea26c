"""Frozen values in RFC words, without I/O."""
