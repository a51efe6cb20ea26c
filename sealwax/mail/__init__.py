"""The bytes of a message."""
